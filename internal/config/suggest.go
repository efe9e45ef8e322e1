package config

import "strings"

// nearest gives the candidate that word most likely meant, or "". The first of
// equally near ones wins.
func nearest(word string, candidates []string) string {
	word = strings.ToLower(word)
	best, found := max(1, min(3, len(word)/3))+1, ""
	for _, c := range candidates {
		if d := distance(word, strings.ToLower(c)); d < best {
			best, found = d, c
		}
	}
	return found
}

// didYouMean is nearest as the end of a sentence, or "".
func didYouMean(word string, candidates []string) string {
	if n := nearest(word, candidates); n != "" {
		return "; did you mean " + n + "?"
	}
	return ""
}

// longestWord bounds the work on a word that nobody typed.
const longestWord = 64

// distance counts the letters to insert, delete, replace or swap with the next
// to make b of a.
func distance(a, b string) int {
	if len(a) > longestWord || len(b) > longestWord {
		return longestWord
	}
	var d [longestWord + 1][longestWord + 1]int // of the first i and j letters
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			if i == 0 || j == 0 {
				d[i][j] = i + j
				continue
			}
			change := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
