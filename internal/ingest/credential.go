package ingest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// Anonymous is the producer of requests without a credential, where none is
// needed.
const Anonymous = "anonymous"

// authenticate names the producer: the key of a bearer token, else the verified
// client certificate, else nobody.
func (r *Receiver) authenticate(ctx context.Context, authorization string, state *tls.ConnectionState) (producer string, err error) {
	if authorization != "" {
		return r.byToken(ctx, authorization)
	}
	if state != nil && len(state.VerifiedChains) > 0 {
		return certificateName(state.VerifiedChains[0][0]), nil
	}
	if r.Open {
		return Anonymous, nil
	}
	return "", fmt.Errorf("%w: send `authorization: Bearer tk_…`; `tollkeeper key add --role producer` makes one", tenant.ErrUnauthenticated)
}

// certificateName names a client by its certificate: the common name, else the
// first URI (as in SPIFFE) or DNS name, else the serial number.
func certificateName(c *x509.Certificate) string {
	name := c.Subject.CommonName
	switch {
	case name != "":
	case len(c.URIs) > 0:
		name = c.URIs[0].String()
	case len(c.DNSNames) > 0:
		name = c.DNSNames[0]
	default:
		name = "serial " + c.SerialNumber.String()
	}
	// It is kept with each observation: as text, and not longer than a name is.
	name = strings.ToValidUTF8(name, "\uFFFD")
	return "cert:" + strings.ToValidUTF8(name[:min(len(name), maxName)], "")
}

// maxName bounds the name of a certificate in bytes; X.520 has 64 characters.
const maxName = 256

func (r *Receiver) byToken(ctx context.Context, authorization string) (string, error) {
	scheme, token, ok := strings.Cut(authorization, " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return "", fmt.Errorf("%w: the authorization header is not `Bearer tk_…`", tenant.ErrUnauthenticated)
	}
	key, err := r.Credentials.Authenticate(ctx, strings.TrimSpace(token))
	if err != nil {
		return "", err
	}
	if !key.Role.Allows(tenant.RoleProducer) {
		return "", refuse(forbidden, "%s is a %s key: sending usage needs a producer's", key.ID, key.Role)
	}
	return key.ID, nil
}
