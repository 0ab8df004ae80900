package luci

// Example is a configuration that has something of everything, to look at.
const Example = `
config b4 'main'
	option version '1'
	option enabled '1'
	option engine 'auto'
	option observe '1'
	list tcp_port '443'
	list http_port '80'

config rule 'bank'
	list domain 'online.bank.example'
	option action 'pass'

config rule 'video'
	list domain 'video.example'
	list domain 'blocked.example'
	option strategy 'strong'

config rule 'tv'
	list mac '02:b4:00:00:00:07'
	list domain 'chat.example'
	option strategy 'default'

config rule 'ads'
	list domain 'updates.example'
	option action 'reject'

config rule 'all'
	option strategy 'default'

config strategy 'strong'
	option tls 'fake(ttl=3) split(1, midsld) disorder'
	option http 'hostcase split(midsld) disorder'
	option quic 'split(midsld) disorder'
`
