package otlp

// Shorten is shorten, for the reference.
var Shorten = shorten
