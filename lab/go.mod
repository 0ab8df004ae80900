module b4/lab

go 1.23.0

require b4 v0.0.0

replace b4 => ../
