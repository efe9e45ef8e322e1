package money_test

import (
	"flag"
	"math/big"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tollkeeper/tollkeeper/internal/money"
)

// checks makes the properties of a test try n random cases, or as many as `make
// properties` asks for.
func checks(t *testing.T, n string) {
	t.Helper()
	if all := os.Getenv("TOLLKEEPER_PROPERTIES"); all != "" {
		n = all
	}
	before := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", before) })
}

// decimals draws numbers of every size that a charge can have, many of them a
// half or nearly so.
var decimals = rapid.Custom(func(t *rapid.T) string {
	s := rapid.StringMatching(`-?[0-9]{1,30}(\.[0-9]{1,51})?`).Draw(t, "number")
	if rapid.Bool().Draw(t, "near") {
		s = rapid.StringMatching(`-?[0-9]{1,6}\.[0-9]{0,4}(5|50000|5000000000000001|4999999999999999|00000000000001)`).Draw(t, "half")
	}
	return s
})

// terminating draws numbers that divide exactly.
var terminating = rapid.Custom(func(t *rapid.T) int64 {
	n := int64(1)
	for range rapid.IntRange(0, 20).Draw(t, "twos") {
		n *= 2
	}
	for range rapid.IntRange(0, 12).Draw(t, "fives") {
		n *= 5
	}
	return n
})

func parse(t interface{ Fatalf(string, ...any) }, s string) money.Decimal {
	d, err := money.Parse(s)
	if err != nil {
		t.Fatalf("Parse(%q): %v", s, err)
	}
	return d
}

// rat is the same number by the arithmetic of another library.
func rat(t interface{ Fatalf(string, ...any) }, s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("%q is no number for math/big", s)
	}
	return r
}

func same(t *rapid.T, what string, got money.Decimal, want *big.Rat) {
	if rat(t, got.String()).Cmp(want) != 0 {
		t.Fatalf("%s is %s, want %s", what, got, want.RatString())
	}
	if s := got.String(); strings.ContainsAny(s, "eE+") || strings.Contains(s, ".") && strings.HasSuffix(s, "0") || s == "-0" {
		t.Fatalf("%s is written %q", what, s)
	}
	if again := parse(t, got.String()); again != got && !again.Equal(got) {
		t.Fatalf("%s is read back as %s", got, again)
	}
}

// TestArithmeticIsExact compares each operation with math/big's fractions.
func TestArithmeticIsExact(t *testing.T) {
	checks(t, "5000")
	rapid.Check(t, func(t *rapid.T) {
		a, b := decimals.Draw(t, "a"), decimals.Draw(t, "b")
		x, y, p, q := parse(t, a), parse(t, b), rat(t, a), rat(t, b)
		n, per := rapid.Int64().Draw(t, "n"), terminating.Draw(t, "per")
		same(t, "a", x, p)
		same(t, "a+b", x.Add(y), new(big.Rat).Add(p, q))
		same(t, "a-b", x.Sub(y), new(big.Rat).Sub(p, q))
		same(t, "-a", x.Neg(), new(big.Rat).Neg(p))
		product, err := x.MulInt(n)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "a*n", product, new(big.Rat).Mul(p, new(big.Rat).SetInt64(n)))
		quotient, err := x.Per(per)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "a/per", quotient, new(big.Rat).Quo(p, new(big.Rat).SetInt64(per)))
		if x.Cmp(y) != p.Cmp(q) || x.Sign() != p.Sign() || x.IsZero() != (p.Sign() == 0) {
			t.Fatalf("%s and %s compare wrongly", a, b)
		}
		same(t, "a, used often", x, p)
	})
}

// roundRat is each rounding once more, by its definition.
func roundRat(r money.Rounding, x *big.Rat, digits int) *big.Int {
	scaled := new(big.Rat).Mul(x, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil)))
	size := new(big.Rat).Abs(scaled)
	floor := new(big.Int).Quo(size.Num(), size.Denom())
	rest := new(big.Rat).Sub(size, new(big.Rat).SetInt(floor))
	half := rest.Cmp(big.NewRat(1, 2))
	up := false
	switch r {
	case money.HalfEven:
		up = half > 0 || half == 0 && floor.Bit(0) == 1
	case money.HalfUp:
		up = half >= 0
	case money.HalfDown:
		up = half > 0
	case money.Up:
		up = rest.Sign() > 0
	case money.Down:
	}
	if up {
		floor.Add(floor, big.NewInt(1))
	}
	if scaled.Sign() < 0 {
		floor.Neg(floor)
	}
	return floor
}

func TestRoundingIsWhatItsNameSays(t *testing.T) {
	checks(t, "20000")
	rapid.Check(t, func(t *rapid.T) {
		text := decimals.Draw(t, "number")
		c := money.Currency{Code: "XTS", Digits: rapid.SampledFrom([]int32{0, 2, 3}).Draw(t, "digits")}
		r := rapid.SampledFrom(money.Roundings()).Draw(t, "rounding")
		x := parse(t, text)
		want := roundRat(r, rat(t, text), int(c.Digits))
		got, err := x.Round(c, r)
		if !want.IsInt64() {
			if err == nil {
				t.Fatalf("%s rounds to %s, which is %s", text, got, want)
			}
			return
		}
		if err != nil || got.Minor() != want.Int64() {
			t.Fatalf("%s %s by %d places is %s (%d), %v; want %s", text, r, c.Digits, got, got.Minor(), err, want)
		}
		again, err := got.Decimal().Round(c, r)
		if err != nil || again != got {
			t.Fatalf("%s rounds again to %s, %v", got, again, err)
		}
		read, err := money.ParseAmount(got.String(), c)
		if err != nil || read != got {
			t.Fatalf("%s is read as %s, %v", got, read, err)
		}
		credit, err := x.Neg().Round(c, r)
		if sum, _ := credit.Add(got); err != nil || !sum.IsZero() {
			t.Fatalf("%s is charged as %s and credited as %s, %v", text, got, credit, err)
		}
	})
}

// FuzzParse holds that what is read is plain, is what math/big reads, and is
// written and read again alike.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"0", "-0", "0.10", "1e400", "1E5", "+1", "", "-", ".", "1.", ".5", "00.00", "Infinity", "NaN", "sNaN1", "0x10", "1_000", "1,5", "--1", " 1",
		strings.Repeat("9", 100) + "." + strings.Repeat("9", 100), strings.Repeat("9", 101), "٣", "1\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := money.Parse(s)
		if err != nil {
			return
		}
		if strings.Trim(s, "-0123456789.") != "" || rat(t, s).Cmp(rat(t, d.String())) != 0 {
			t.Fatalf("%q is read as %s", s, d)
		}
		again := parse(t, d.String())
		if again.String() != d.String() || !again.Equal(d) {
			t.Fatalf("%s is read back as %s", d, again)
		}
	})
}
