package ingest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
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
	undecodable: codes.InvalidArgument, unsupported: codes.Unimplemented, unknownSignal: codes.Unimplemented, wrongMethod: codes.Unimplemented,
	unauthenticated: codes.Unauthenticated, forbidden: codes.PermissionDenied, badCredential: codes.Unavailable,
}

const (
	// maxStreams bounds the exports of one connection that wait at a time.
	maxStreams = 128
	// keepaliveTime finds connections whose other end is gone.
	keepaliveTime    = 2 * time.Minute
	keepaliveTimeout = 20 * time.Second
	// pingInterval is how often a client may ping; Collectors use 10 s and more.
	pingInterval = 5 * time.Second
	// streamWindow and connWindow in bytes are how much a client may send before
	// it is read: an export of a usual batch at once. They are fixed, since to
	// measure better ones grpc-go pings beside each message, which costs as much as
	// a small message.
	streamWindow = 1 << 20
	connWindow   = 4 << 20
	// streamWorkers are goroutines that serve one export after another, each with
	// the stack that the one before needed; an export that finds none free gets
	// one of its own.
	streamWorkers = 64
)

// GRPCServer returns a server of OTLP/gRPC. It decodes nothing before us:
// messages arrive as bytes, so that a bad one is answered as the table says.
// Export is unary; it is declared as a stream of one message, so that a
// credential is asked for before the message is read into memory.
func (r *Receiver) GRPCServer() *grpc.Server {
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(int(r.MaxBody)),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ConnectionTimeout(r.HeaderTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTimeout, Time: keepaliveTime, Timeout: keepaliveTimeout}),
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
		Streams:     []grpc.StreamDesc{{StreamName: "Export", Handler: r.exportGRPC, ClientStreams: true}},
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

func (r *Receiver) exportGRPC(_ any, stream grpc.ServerStream) (err error) {
	began := time.Now()
	defer func() {
		if p := recover(); p != nil {
			r.panicked(p)
			err = refuse(unavailable, "internal error")
		}
		err = r.answerGRPC(began, err)
	}()
	a, err := r.export(stream)
	if err != nil {
		return err
	}
	return stream.SendMsg(exportResponse(false, a))
}

func (r *Receiver) export(stream grpc.ServerStream) (answer, error) {
	ctx := stream.Context()
	producer, err := r.admit(ctx, authorization(ctx), tlsState(ctx))
	if err != nil {
		return answer{}, err
	}
	data, err := r.receive(stream)
	if err != nil {
		return answer{}, err
	}
	work, err := r.newWork(int64(data.Len()))
	if err != nil {
		data.Free()
		return answer{}, err
	}
	defer work.free()
	err = work.read(data.Reader(), int64(data.Len()), r.MaxBody)
	data.Free()
	if err != nil {
		return answer{}, err
	}
	return r.store(ctx, producer, false, work)
}

// receive reads the one message. grpc-go gives a server no deadline for that, so
// a goroutine waits for it; it ends with the stream, which ends with our answer.
func (r *Receiver) receive(stream grpc.ServerStream) (mem.BufferSlice, error) {
	var m rawMessage
	got := make(chan error, 1)
	go func() { got <- stream.RecvMsg(&m) }()
	late := time.NewTimer(r.BodyTimeout)
	defer late.Stop()
	select {
	case err := <-got:
		return m.data, receiveRefusal(err)
	case <-late.C:
		return nil, refuse(unavailable, "the message did not arrive in %s", r.BodyTimeout)
	}
}

// receiveRefusal reads the status that grpc-go makes when it cannot receive.
func receiveRefusal(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return refuse(undecodable, "there is no message")
	}
	s := status.Convert(err)
	switch s.Code() {
	case codes.ResourceExhausted:
		return refuse(tooLarge, "%s", s.Message())
	case codes.Internal, codes.Unimplemented:
		return refuse(undecodable, "%s", s.Message())
	}
	return refuse(unavailable, "the message did not arrive: %s", s.Message())
}

func authorization(ctx context.Context) string {
	if list := metadata.ValueFromIncomingContext(ctx, "authorization"); len(list) > 0 {
		return list[0]
	}
	return ""
}

func tlsState(ctx context.Context) *tls.ConnectionState {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			return &info.State
		}
	}
	return nil
}

// answerGRPC makes the status of an error, with RetryInfo where trying again
// can help: without it clients take RESOURCE_EXHAUSTED for final.
func (r *Receiver) answerGRPC(began time.Time, err error) error {
	if err == nil {
		r.Metrics.answered(overGRPC, stored, time.Since(began))
		return nil
	}
	refused := r.classify(err)
	o := refused.outcome
	r.Metrics.answered(overGRPC, o, time.Since(began))
	r.Logger.Debug("refused", "transport", "grpc", "outcome", o, "error", refused.Error())
	s := status.New(grpcCode[o], refused.text())
	if o.retryable() {
		if with, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)}); err == nil {
			s = with
		}
	}
	return s.Err()
}
