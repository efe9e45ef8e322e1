package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// print writes all rows in a format.
func (c *client) print(rows driver.Rows, format string) error {
	names, types := rows.Columns(), rows.ColumnTypes()
	if format == withNames {
		var escaped []string
		for _, n := range names {
			escaped = append(escaped, escape(n))
		}
		fmt.Fprintln(c.out, strings.Join(escaped, "\t"))
	}
	for number := 1; rows.Next(); number++ {
		row := make([]any, len(types))
		for i, t := range types {
			row[i] = reflect.New(t.ScanType()).Interface()
		}
		if err := rows.Scan(row...); err != nil {
			return err
		}
		cells := make([]string, len(row))
		for i, t := range types {
			cells[i] = text(t.DatabaseTypeName(), reflect.ValueOf(row[i]).Elem(), false)
		}
		if err := c.row(format, number, names, cells, row); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (c *client) row(format string, number int, names, cells []string, values []any) error {
	switch format {
	case vertical:
		title := fmt.Sprintf("Row %d:", number)
		fmt.Fprintf(c.out, "%s\n%s\n", title, strings.Repeat("─", len(title)))
		width := len(slices.MaxFunc(names, func(a, b string) int { return cmp.Compare(len(a), len(b)) })) + 2
		for i, n := range names {
			fmt.Fprintf(c.out, "%-*s%s\n", width, n+":", cells[i])
		}
		_, err := fmt.Fprintln(c.out)
		return err
	case jsonEachRow:
		return c.object(names, cells, values)
	default:
		_, err := fmt.Fprintln(c.out, strings.Join(cells, "\t"))
		return err
	}
}

// object writes a row as JSON, in the order of its columns. Times are text.
func (c *client) object(names, cells []string, values []any) error {
	var b bytes.Buffer
	for i, n := range names {
		value := reflect.ValueOf(values[i]).Elem().Interface()
		if _, ok := value.(time.Time); ok {
			value = cells[i]
		}
		name, err := json.Marshal(n)
		if err != nil {
			return err
		}
		v, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(v)
	}
	_, err := fmt.Fprintf(c.out, "{%s}\n", &b)
	return err
}

// text is a value of a type of ClickHouse's as TabSeparated has it. Within
// arrays, maps and tuples, what is no number is quoted.
func text(kind string, v reflect.Value, quoted bool) string {
	switch name, inner := parse(kind); name {
	case "LowCardinality":
		return text(inner, v, quoted)
	case "Nullable":
		if v.Kind() == reflect.Pointer && v.IsNil() {
			if quoted {
				return "NULL"
			}
			return `\N`
		}
		return text(inner, reflect.Indirect(v), quoted)
	case "Array":
		var items []string
		for i := range v.Len() {
			items = append(items, text(inner, v.Index(i), true))
		}
		return "[" + strings.Join(items, ",") + "]"
	case "Map":
		return mapText(inner, v)
	case "DateTime64":
		scale, _ := strconv.Atoi(strings.TrimSpace(strings.Split(inner, ",")[0])) // the server's own words
		layout := time.DateTime
		if scale > 0 {
			layout += "." + strings.Repeat("0", scale)
		}
		return word(moment(v, layout), quoted)
	case "DateTime":
		return word(moment(v, time.DateTime), quoted)
	case "Date", "Date32":
		return word(moment(v, time.DateOnly), quoted)
	}
	switch v.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return fmt.Sprint(v.Interface())
	default:
		return word(fmt.Sprint(v.Interface()), quoted)
	}
}

func moment(v reflect.Value, layout string) string {
	if t, ok := reflect.TypeAssert[time.Time](v); ok {
		return t.Format(layout)
	}
	return fmt.Sprint(v.Interface())
}

// mapText writes a map in the order of its keys: what the Collector writes has
// them so.
func mapText(inner string, v reflect.Value) string {
	key, value := pair(inner)
	var items []string
	for _, k := range v.MapKeys() {
		items = append(items, text(key, k, true)+":"+text(value, v.MapIndex(k), true))
	}
	slices.Sort(items)
	return "{" + strings.Join(items, ",") + "}"
}

// parse parts "Array(String)" into its name and what is in its brackets.
func parse(kind string) (name, inner string) {
	name, inner, _ = strings.Cut(kind, "(")
	return name, strings.TrimSuffix(inner, ")")
}

// pair parts "K, V" at the comma that stands in no brackets.
func pair(s string) (a, b string) {
	depth := 0
	for i, r := range s {
		switch {
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			return s[:i], strings.TrimSpace(s[i+1:])
		}
	}
	return s, ""
}

func word(s string, quoted bool) string {
	if quoted {
		return "'" + escape(s) + "'"
	}
	return escape(s)
}

// escape is TabSeparated's.
var escaped = strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`, "\b", `\b`, "\f", `\f`, "'", `\'`)

func escape(s string) string { return escaped.Replace(s) }
