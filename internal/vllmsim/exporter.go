package vllmsim

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"google.golang.org/grpc/credentials"
)

// newClient is the OTLP client that the options ask for. Its retries last as
// long as one export may, as Python's.
func newClient(o Options) (otlptrace.Client, error) {
	switch o.OTLPProtocol {
	case ProtocolHTTP:
		return httpClient(o)
	case ProtocolGRPC:
		return grpcClient(o)
	default:
		return nil, fmt.Errorf("unsupported OTLP protocol %q: %s or %s", o.OTLPProtocol, ProtocolGRPC, ProtocolHTTP)
	}
}

func httpClient(o Options) (otlptrace.Client, error) {
	u, err := url.Parse(o.OTLPEndpoint)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("OTLP endpoint %q: with %s it is the whole URL, e.g. http://127.0.0.1:4318/v1/traces", o.OTLPEndpoint, ProtocolHTTP)
	}
	opts := []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(o.OTLPEndpoint), otlptracehttp.WithHeaders(o.OTLPHeaders), otlptracehttp.WithTimeout(o.ExportTimeout),
	}
	if o.OTLPTLS != nil {
		opts = append(opts, otlptracehttp.WithTLSClientConfig(o.OTLPTLS))
	}
	if o.OTLPGzip {
		opts = append(opts, otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	}
	return otlptracehttp.NewClient(opts...), nil
}

func grpcClient(o Options) (otlptrace.Client, error) {
	address, config := o.OTLPEndpoint, o.OTLPTLS
	if rest, ok := strings.CutPrefix(address, "https://"); ok {
		address = rest
		if config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
	}
	address = strings.TrimSuffix(strings.TrimPrefix(address, "http://"), "/")
	if address == "" || strings.Contains(address, "/") {
		return nil, fmt.Errorf("OTLP endpoint %q: with %s it is a host and port, e.g. http://127.0.0.1:4317", o.OTLPEndpoint, ProtocolGRPC)
	}
	opts := []otlptracegrpc.Option{
		otlptracegrpc.WithEndpoint(address), otlptracegrpc.WithHeaders(o.OTLPHeaders), otlptracegrpc.WithTimeout(o.ExportTimeout),
	}
	if config != nil {
		opts = append(opts, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(config)))
	} else {
		opts = append(opts, otlptracegrpc.WithInsecure())
	}
	if o.OTLPGzip {
		opts = append(opts, otlptracegrpc.WithCompressor("gzip"))
	}
	return otlptracegrpc.NewClient(opts...), nil
}
