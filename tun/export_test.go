package tun

// BigHello is for the tests that see the package from outside.
var BigHello = bigHello
