package ingest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// grpcCode is the answer of each outcome over gRPC. None is INTERNAL or
// UNKNOWN, on which clients drop data.
var grpcCode = map[outcome]codes.Code{
	stored: codes.OK, unavailable: codes.Unavailable, rateLimited: codes.ResourceExhausted, tooLarge: codes.ResourceExhausted,
	undecodable: codes.InvalidArgument, unsupported: codes.Unimplemented, unknownSignal: codes.Unimplemented,
	unauthenticated: codes.Unauthenticated, forbidden: codes.PermissionDenied,
}

const (
	// maxStreams bounds the exports of one connection that wait at a time.
	maxStreams = 128
	// keepaliveTime finds connections whose other end is gone.
	keepaliveTime    = 2 * time.Minute
	keepaliveTimeout = 20 * time.Second
	// pingInterval is how often a client may ping; Collectors use 10 s and more.
	pingInterval = 5 * time.Second
)

// GRPCServer returns a server of OTLP/gRPC. It decodes nothing before us:
// messages arrive as bytes, so that a bad one is answered as the table says.
func (r *Receiver) GRPCServer() *grpc.Server {
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(int(r.MaxBody)),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.ConnectionTimeout(headerTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingInterval, PermitWithoutStream: true}),
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			return r.answerGRPC(time.Now(), refuse(unknownSignal, "tollkeeper takes traces"))
		}),
	}
	if r.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(r.TLS)))
	}
	s := grpc.NewServer(options...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "opentelemetry.proto.collector.trace.v1.TraceService",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Export", Handler: r.exportGRPC}},
	}, r)
	return s
}

// rawCodec hands messages through as bytes.
type rawCodec struct{}

// rawMessage is a message as it stands on the wire, decompressed.
type rawMessage struct{ data mem.BufferSlice }

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errors.New("ingest: the raw codec writes bytes only")
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*rawMessage)
	if !ok {
		return errors.New("ingest: the raw codec reads raw messages only")
	}
	data.Ref()
	m.data = data
	return nil
}

func (r *Receiver) exportGRPC(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (answer any, err error) { //nolint:revive // grpc.MethodDesc's order
	began := time.Now()
	defer func() {
		if p := recover(); p != nil {
			r.Metrics.panics.Inc()
			r.Logger.Error("a request panicked", "panic", p)
			err = refuse(unavailable, "internal error")
		}
		err = r.answerGRPC(began, err)
	}()
	producer, err := r.authenticateGRPC(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.admit(producer); err != nil {
		return nil, err
	}
	var m rawMessage
	if err := decode(&m); err != nil {
		return nil, refuse(undecodable, "%s", status.Convert(err).Message())
	}
	defer m.data.Free()
	size := int64(m.data.Len())
	if !r.room.TryAcquire(size) {
		return nil, errNoRoom
	}
	defer r.room.Release(size)
	r.Metrics.bytes.Add(float64(size))
	rejected, message, err := r.store(ctx, export{producer: producer, body: m.data.Materialize()})
	if err != nil {
		return nil, err
	}
	return exportResponse(false, rejected, message), nil
}

func (r *Receiver) authenticateGRPC(ctx context.Context) (string, error) {
	var authorization string
	if list := metadata.ValueFromIncomingContext(ctx, "authorization"); len(list) > 0 {
		authorization = list[0]
	}
	var state *tls.ConnectionState
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			state = &info.State
		}
	}
	return r.authenticate(ctx, authorization, state)
}

// answerGRPC makes the status of an error, with RetryInfo where trying again
// can help: without it clients take RESOURCE_EXHAUSTED for final.
func (r *Receiver) answerGRPC(began time.Time, err error) error {
	if err == nil {
		r.Metrics.answered("grpc", stored, time.Since(began))
		return nil
	}
	refused := r.classify(err)
	r.Metrics.answered("grpc", refused.outcome, time.Since(began))
	r.Logger.Debug("refused", "transport", "grpc", "outcome", refused.outcome, "error", refused.Error())
	s := status.New(grpcCode[refused.outcome], refused.Error())
	if refused.outcome == unavailable || refused.outcome == rateLimited {
		if with, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)}); err == nil {
			s = with
		}
	}
	return s.Err()
}

// Compressor returns gRPC's compressor of a name, "gzip" or "zstd", for
// encoding.RegisterCompressor. gRPC answers INTERNAL when a decompressor fails,
// on which clients drop what they sent without a word of why; ours hands over a
// message that cannot be decoded instead, which is answered INVALID_ARGUMENT.
func Compressor(name string, maxBody int64) encoding.Compressor {
	return &compressor{name: name, max: maxBody}
}

type compressor struct {
	name string
	max  int64
}

func (c *compressor) Name() string { return c.name }

// Compress is for answers, which are a few bytes.
func (c *compressor) Compress(w io.Writer) (io.WriteCloser, error) {
	if c.name == "zstd" {
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	}
	return gzip.NewWriter(w), nil
}

// noMessage is no protobuf: the first byte has the wire type 7.
var noMessage = []byte{0x07}

// Decompress reads everything, up to one byte above the limit, which gRPC then
// refuses as too large.
func (c *compressor) Decompress(from io.Reader) (io.Reader, error) {
	reader, done, err := decompressor(c.name, from)
	if err != nil {
		return bytes.NewReader(noMessage), nil
	}
	defer done()
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(reader, c.max+1)); err != nil {
		return bytes.NewReader(noMessage), nil
	}
	return &b, nil
}
