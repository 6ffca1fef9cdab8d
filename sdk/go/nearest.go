package plinth

import "fmt"

// nearest is ", did you mean `X`?" for the nearest of some names, or nothing where none is near.
func nearest(name string, names []string) string {
	best, found := max(len([]rune(name)), 3)/3, ""
	for _, candidate := range names {
		if away := distance(name, candidate); away <= best && (found == "" || away < best) {
			best, found = away, candidate
		}
	}
	if found == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean `%s`?", found)
}

// distance is the number of edits from one name to another.
func distance(from, to string) int {
	target := []rune(to)
	row := make([]int, len(target)+1)
	for j := range row {
		row[j] = j
	}
	for i, a := range []rune(from) {
		diagonal := row[0]
		row[0] = i + 1
		for j, b := range target {
			substituted := diagonal
			if a != b {
				substituted++
			}
			diagonal = row[j+1]
			row[j+1] = min(substituted, row[j]+1, diagonal+1)
		}
	}
	return row[len(target)]
}
