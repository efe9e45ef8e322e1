package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong in a file or in the environment.
type Problem struct {
	// File, Line and Column say where; Line and Column count from 1, 0 is the whole
	// file. File is "" for a problem of the environment.
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	// Variable is the environment variable, "" for a problem of a file.
	Variable string `json:"variable,omitempty"`
	// Key is the key as it is nested, such as "invoice.currency" or
	// "engines[0].match"; "" when it is about no key.
	Key string `json:"key,omitempty"`
	// Text says what is wrong and what would be right.
	Text string `json:"text"`
}

// String is the problem in one line: place, key and text.
func (p Problem) String() string {
	where := p.Variable
	switch {
	case where != "":
	case p.Line == 0:
		where = p.File
	default:
		where = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
	if p.Key != "" && p.Variable == "" {
		where += ": " + p.Key
	}
	return where + ": " + p.Text
}

// Problems are all that is wrong, as an error: of the file by line, then of the
// environment by variable.
type Problems []Problem //nolint:errname // what they are is problems, and errors of one kind only together

// Error has a line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// err is nil when there is no problem, else the sorted problems.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Variable, b.Variable), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return ps
}
