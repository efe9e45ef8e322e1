package money_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/money"
)

var (
	usd = money.Currency{Code: "USD", Digits: 2}
	jpy = money.Currency{Code: "JPY", Digits: 0}
	kwd = money.Currency{Code: "KWD", Digits: 3}
)

func TestParseRefuses(t *testing.T) {
	for s, want := range map[string]error{
		"": money.ErrSyntax, "-": money.ErrSyntax, "+1": money.ErrSyntax, ".5": money.ErrSyntax, "5.": money.ErrSyntax, "1e400": money.ErrSyntax,
		"NaN": money.ErrSyntax, "Inf": money.ErrSyntax, "0x1": money.ErrSyntax, "1_0": money.ErrSyntax, "\t1": money.ErrSyntax, "1,5": money.ErrSyntax,
		"--1": money.ErrSyntax, "1.2.3": money.ErrSyntax, "٣": money.ErrSyntax, "-.1": money.ErrSyntax,
		strings.Repeat("1", 101): money.ErrRange, "0." + strings.Repeat("1", 101): money.ErrRange,
	} {
		if d, err := money.Parse(s); !errors.Is(err, want) {
			t.Errorf("Parse(%q) = %s, %v; want %v", s, d, err, want)
		}
	}
}

func TestDecimalIsWrittenPlainly(t *testing.T) {
	for s, want := range map[string]string{
		"0": "0", "-0": "0", "-0.00": "0", "007": "7", "0.10": "0.1", "1000000": "1000000", "-12.50": "-12.5", "100.0": "100",
		"0.000000000001": "0.000000000001",
	} {
		if got := parse(t, s).String(); got != want {
			t.Errorf("%q is written %q, want %q", s, got, want)
		}
	}
	for _, c := range []struct {
		s, want string
		places  int
	}{{"0.1", "0.10", 2}, {"5", "5.00", 2}, {"0.125", "0.125", 2}, {"5", "5", 0}, {"1000", "1000.0", 1}, {"-0.5", "-0.50", 2}} {
		if got := parse(t, c.s).Text(c.places); got != c.want {
			t.Errorf("%s with %d places is %q, want %q", c.s, c.places, got, c.want)
		}
	}
	if (money.Decimal{}).String() != "0" {
		t.Error("the zero value is not 0")
	}
}

func TestPercentIsForReading(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"0.10", "0.125", "+25%"}, {"0.10", "0.08", "-20%"}, {"3", "4", "+33.3%"}, {"3", "2", "-33.3%"}, {"8", "9", "+12.5%"},
		{"1", "1", "0%"}, {"1", "0", "-100%"}, {"0", "1", ""}, {"1000000", "1000001", "0%"}, {"0.000001", "1", "+99999900%"},
	} {
		if got := parse(t, c.from).PercentTo(parse(t, c.to)); got != c.want {
			t.Errorf("from %s to %s is %q, want %q", c.from, c.to, got, c.want)
		}
	}
}

func TestDecimalInJSON(t *testing.T) {
	type price struct{ Value money.Decimal }
	b, err := json.Marshal(price{parse(t, "0.10")})
	if err != nil || string(b) != `{"Value":"0.1"}` {
		t.Fatalf("%s, %v", b, err)
	}
	var p price
	if err := json.Unmarshal(b, &p); err != nil || !p.Value.Equal(parse(t, "0.1")) {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, bad := range []string{`{"Value":0.1}`, `{"Value":"1e3"}`, `{"Value":"x"}`} {
		if err := json.Unmarshal([]byte(bad), &p); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestDivisionEndsOrIsRefused(t *testing.T) {
	for n, want := range map[int64]bool{
		1: true, 2: true, 5: true, 10: true, 1000: true, 1_000_000: true, 1 << 62: true, 1024: true,
		0: false, -10: false, 3: false, 6: false, 7: false, 60: false, math.MaxInt64: false, math.MinInt64: false,
	} {
		if got := money.Terminates(n); got != want {
			t.Errorf("Terminates(%d) = %v", n, got)
		}
		if _, err := parse(t, "1").Per(n); errors.Is(err, money.ErrInexact) == want {
			t.Errorf("1/%d: %v", n, err)
		}
	}
	third, err := parse(t, "0.1").Per(3)
	if err == nil {
		t.Errorf("0.1/3 = %s", third)
	}
}

func TestProductsAreBounded(t *testing.T) {
	most := parse(t, strings.Repeat("9", 100))
	if d, err := most.MulInt(2); !errors.Is(err, money.ErrRange) {
		t.Errorf("%s, %v", d, err)
	}
	least := parse(t, "0."+strings.Repeat("0", 99)+"1")
	if d, err := least.Per(2); !errors.Is(err, money.ErrRange) {
		t.Errorf("%s, %v", d, err)
	}
	if d := most.Add(most).Add(least); d.String() != "1"+strings.Repeat("9", 99)+"8."+strings.Repeat("0", 99)+"1" {
		t.Errorf("a sum of the largest and the least is %s", d)
	}
}

func TestRoundingTable(t *testing.T) {
	// In the order of Roundings: half-even, half-up, half-down, up, down.
	for _, c := range []struct {
		number   string
		currency money.Currency
		want     [5]string
	}{
		{"0.005", usd, [5]string{"0.00", "0.01", "0.00", "0.01", "0.00"}},
		{"0.015", usd, [5]string{"0.02", "0.02", "0.01", "0.02", "0.01"}},
		{"-0.015", usd, [5]string{"-0.02", "-0.02", "-0.01", "-0.02", "-0.01"}},
		{"-0.005", usd, [5]string{"0.00", "-0.01", "0.00", "-0.01", "0.00"}},
		{"0.0000000001", usd, [5]string{"0.00", "0.00", "0.00", "0.01", "0.00"}},
		{"-0.0000000001", usd, [5]string{"0.00", "0.00", "0.00", "-0.01", "0.00"}},
		{"9.995", usd, [5]string{"10.00", "10.00", "9.99", "10.00", "9.99"}},
		{"12.3", usd, [5]string{"12.30", "12.30", "12.30", "12.30", "12.30"}},
		{"2.5", jpy, [5]string{"2", "3", "2", "3", "2"}},
		{"1000", jpy, [5]string{"1000", "1000", "1000", "1000", "1000"}},
		{"0.0015", kwd, [5]string{"0.002", "0.002", "0.001", "0.002", "0.001"}},
		{"7", kwd, [5]string{"7.000", "7.000", "7.000", "7.000", "7.000"}},
	} {
		for i, r := range money.Roundings() {
			if got, err := parse(t, c.number).Round(c.currency, r); err != nil || got.String() != c.want[i] {
				t.Errorf("%s %s rounded %s is %s, %v; want %s", c.number, c.currency.Code, r, got, err, c.want[i])
			}
		}
	}
	if got, err := parse(t, "0.005").Round(usd, ""); err != nil || got.String() != "0.00" {
		t.Errorf("no rounding named: %s, %v; want half-even", got, err)
	}
}

func TestRoundRefuses(t *testing.T) {
	one := parse(t, "1")
	for _, c := range []struct {
		d        money.Decimal
		currency money.Currency
		rounding money.Rounding
		want     error
	}{
		{one, money.Currency{}, money.HalfEven, money.ErrCurrency},
		{one, money.Currency{Code: "usd", Digits: 2}, money.HalfEven, money.ErrCurrency},
		{one, money.Currency{Code: "CLF", Digits: 4}, money.HalfEven, money.ErrCurrency},
		{one, money.Currency{Code: "USD", Digits: -1}, money.HalfEven, money.ErrCurrency},
		{one, usd, "half-odd", money.ErrRounding},
		{parse(t, "92233720368547758.08"), usd, money.Down, money.ErrRange},
		{parse(t, "92233720368547758.071"), usd, money.Up, money.ErrRange},
		{parse(t, "9223372036854775808"), jpy, money.HalfEven, money.ErrRange},
	} {
		if a, err := c.d.Round(c.currency, c.rounding); !errors.Is(err, c.want) {
			t.Errorf("%s %v %s: %s, %v; want %v", c.d, c.currency, c.rounding, a, err, c.want)
		}
	}
	if a, err := parse(t, "92233720368547758.07").Round(usd, money.Up); err != nil || a.Minor() != math.MaxInt64 {
		t.Errorf("the largest amount: %s, %v", a, err)
	}
	if a, err := parse(t, "-92233720368547758.08").Round(usd, money.Up); err != nil || a.Minor() != math.MinInt64 {
		t.Errorf("the least amount: %s, %v", a, err)
	}
}

func TestRoundingsByName(t *testing.T) {
	for _, r := range money.Roundings() {
		if got, err := money.ParseRounding(string(r)); err != nil || got != r {
			t.Errorf("%s: %s, %v", r, got, err)
		}
	}
	if r, err := money.ParseRounding(""); err != nil || r != money.HalfEven {
		t.Errorf("no name: %s, %v", r, err)
	}
	if _, err := money.ParseRounding("half_even"); !errors.Is(err, money.ErrRounding) {
		t.Errorf("half_even: %v", err)
	}
}

func TestAmounts(t *testing.T) {
	ten, three := money.FromMinor(1000, usd), money.FromMinor(300, usd)
	if sum, err := ten.Add(three); err != nil || sum.String() != "13.00" {
		t.Errorf("%s, %v", sum, err)
	}
	if rest, err := three.Sub(ten); err != nil || rest.String() != "-7.00" || rest.Sign() != -1 || rest.Minor() != -700 {
		t.Errorf("%s, %v", rest, err)
	}
	if back, err := ten.Neg(); err != nil || back.String() != "-10.00" || back.Currency() != usd {
		t.Errorf("%s, %v", back, err)
	}
	most, least := money.FromMinor(math.MaxInt64, usd), money.FromMinor(math.MinInt64, usd)
	for name, f := range map[string]func() (money.Amount, error){
		"max+1":  func() (money.Amount, error) { return most.Add(money.FromMinor(1, usd)) },
		"min-1":  func() (money.Amount, error) { return least.Sub(money.FromMinor(1, usd)) },
		"0-min":  func() (money.Amount, error) { return money.FromMinor(0, usd).Sub(least) },
		"-min":   least.Neg,
		"min-mi": func() (money.Amount, error) { return least.Add(least) },
	} {
		if a, err := f(); !errors.Is(err, money.ErrRange) {
			t.Errorf("%s: %s, %v", name, a, err)
		}
	}
	for _, other := range []money.Amount{money.FromMinor(1, jpy), money.FromMinor(1, money.Currency{Code: "USD", Digits: 3})} {
		if a, err := ten.Add(other); !errors.Is(err, money.ErrCurrency) {
			t.Errorf("added %s to dollars: %s, %v", other.Currency().Code, a, err)
		}
	}
}

func TestParseAmount(t *testing.T) {
	for s, want := range map[string]error{
		"1": money.ErrSyntax, "1.0": money.ErrSyntax, "1.000": money.ErrSyntax, "01.00": money.ErrSyntax, "-0.00": money.ErrSyntax, "1.005": money.ErrSyntax,
		"x": money.ErrSyntax, "92233720368547758.08": money.ErrRange,
	} {
		if a, err := money.ParseAmount(s, usd); !errors.Is(err, want) {
			t.Errorf("ParseAmount(%q) = %s, %v; want %v", s, a, err, want)
		}
	}
	if a, err := money.ParseAmount("-12.30", usd); err != nil || a.Minor() != -1230 {
		t.Errorf("%s, %v", a, err)
	}
	if _, err := money.ParseAmount("1.00", money.Currency{}); !errors.Is(err, money.ErrCurrency) {
		t.Errorf("no currency: %v", err)
	}
}
