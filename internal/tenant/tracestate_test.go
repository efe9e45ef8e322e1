package tenant_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

func TestMember(t *testing.T) {
	long := strings.Repeat("v", 256)
	var many []string
	for i := range 32 {
		many = append(many, fmt.Sprintf("k%d=1", i))
	}
	full := strings.Join(many[:31], ",") + ",tollkeeper=x"
	for _, c := range []struct {
		header, value string
		present, bad  bool
	}{
		{header: ""},
		{header: ","},
		{header: "vendor=1"},
		{header: "tollkeeper=x", value: "x", present: true},
		{header: "tollkeeper=x y", value: "x y", present: true},
		{header: "\ttollkeeper=x ", value: "x", present: true},
		{header: "a=1,tollkeeper=x", value: "x", present: true},
		{header: "0tenant@sys=1,tollkeeper=x", value: "x", present: true},
		{header: "tollkeeper=" + long, value: long, present: true},
		{header: "tollkeeper@edge=x"},
		{header: full, value: "x", present: true},
		{header: full + ",one-more=1", present: true, bad: true},
		{header: "tollkeeper=" + long + "v", present: true, bad: true},
		{header: "tollkeeper=", present: true, bad: true},
		{header: "tollkeeper", present: true, bad: true},
		{header: "tollkeeper=a=b", present: true, bad: true},
		{header: "tollkeeper=\u00e9", present: true, bad: true},
		{header: "tollkeeper=x,tollkeeper=x", present: true, bad: true},
		{header: "tollkeeper=x,A=1", present: true, bad: true},
		{header: "tollkeeper=x,0a=1", present: true, bad: true},
		{header: "tollkeeper=x,a@0=1", present: true, bad: true},
		{header: "tollkeeper=x,a@b@c=1", present: true, bad: true},
		{header: "tollkeeper=x;y=1", value: "x;y=1", present: true, bad: true},
		{header: "A=1", bad: true},
		{header: "a=1,a=2", bad: true},
	} {
		value, present, err := tenant.Member(c.header)
		if (err != nil) != c.bad || present != c.present || !c.bad && value != c.value {
			t.Errorf("%.60q: %q present %v, %v; want %q present %v, bad %v", c.header, value, present, err, c.value, c.present, c.bad)
		}
		if err != nil && value != "" {
			t.Errorf("%.60q: malformed, and still the value %q", c.header, value)
		}
	}
}
