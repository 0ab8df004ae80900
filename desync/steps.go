package desync

// specs is every word of the language, in the order help shows it. A step's own
// file says what it is; a name may mean something else in another protocol.
func specs() []*spec {
	return []*spec{
		&syndataSpec, &synfakeSpec, &wsizeSpec,
		&splitSpec, &quicSplitSpec, &disorderSpec, &quicDisorderSpec, &seqovlSpec,
		&fakeTLSSpec, &fakeHTTPSpec, &quicFakeSpec, &rstSpec,
		&hostcaseSpec, &hostspellSpec, &domcaseSpec, &hostdotSpec, &hostnospaceSpec, &methodeolSpec, &unixeolSpec,
		&padSpec, &udplenSpec,
		&tlsrecSpec, &oobSpec,
		&ipidSpec, &ipfragSpec, &udpIPFragSpec, &dupSpec, &delaySpec,
	}
}
