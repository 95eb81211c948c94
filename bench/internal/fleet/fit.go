package fleet

import (
	"math"
	"slices"
)

// fit finds the weights, none of them negative, with which the columns of rows come closest to want: least squares of the
// relative errors, so that small values count as much as large ones. Those below least are taken as if they were that large,
// since what is next to nothing is mostly noise. The solution is, on the columns that it uses, the one without the constraint:
// so each choice of columns is tried, of which there are few.
func fit(rows [][]float64, want []float64, least float64) []float64 {
	if len(rows) == 0 {
		return nil
	}
	columns := len(rows[0])
	best, bestError := make([]float64, columns), math.Inf(1)
	for chosen := range 1 << columns {
		var used []int
		for c := range columns {
			if chosen>>c&1 == 1 {
				used = append(used, c)
			}
		}
		weights, ok := leastSquares(rows, want, least, used)
		if !ok {
			continue
		}
		if e := relativeError(rows, want, least, weights); e < bestError-1e-12 {
			best, bestError = weights, e
		}
	}
	return best
}

// leastSquares solves the normal equations of the used columns, and tells false where they have no solution, or one that is
// negative.
func leastSquares(rows [][]float64, want []float64, least float64, used []int) ([]float64, bool) {
	n := len(used)
	// Columns of like size keep the elimination exact.
	scale := make([]float64, n)
	for i, c := range used {
		for r, row := range rows {
			scale[i] += math.Abs(row[c]) / max(want[r], least)
		}
		if scale[i] == 0 {
			return nil, false
		}
	}
	m := make([][]float64, n)
	for i := range m {
		m[i] = make([]float64, n+1)
		for r, row := range rows {
			weight := 1 / max(want[r], least)
			x := row[used[i]] / scale[i] * weight
			for j := range n {
				m[i][j] += x * row[used[j]] / scale[j] * weight
			}
			m[i][n] += x * want[r] * weight
		}
	}
	if !eliminate(m) {
		return nil, false
	}
	weights := make([]float64, len(rows[0]))
	for i, c := range used {
		if m[i][n] < 0 {
			return nil, false
		}
		weights[c] = m[i][n] / scale[i]
	}
	return weights, true
}

// eliminate brings a system of equations to its solution, in the last column. It tells false if there are many.
func eliminate(m [][]float64) bool {
	for i := range m {
		pivot := i
		for r := i + 1; r < len(m); r++ {
			if math.Abs(m[r][i]) > math.Abs(m[pivot][i]) {
				pivot = r
			}
		}
		m[i], m[pivot] = m[pivot], m[i]
		if math.Abs(m[i][i]) < 1e-12 {
			return false
		}
		for r := range m {
			if r == i {
				continue
			}
			factor := m[r][i] / m[i][i]
			for c := i; c < len(m[r]); c++ {
				m[r][c] -= factor * m[i][c]
			}
		}
	}
	for i := range m {
		m[i][len(m)] /= m[i][i]
	}
	return true
}

func relativeError(rows [][]float64, want []float64, least float64, weights []float64) (sum float64) {
	for r, row := range rows {
		e := (dot(row, weights) - want[r]) / max(want[r], least)
		sum += e * e
	}
	return sum
}

func dot(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// doubt is how little the rows settle a weight that was fitted to them.
type doubt struct {
	off      float64   // it is this much off, or less: two standard errors; +Inf: no row has anything of it
	inflated float64   // how many times its variance is what it would be if nothing else grew where this does
	with     []float64 // how its error goes with those of the others: correlations
}

const (
	// entangled is from which inflation on nothing is known of a weight by itself, however exact the measurements are.
	entangled = 1e4
	// alike is the correlation of two weights' errors, or minus that, from which on their sum is known rather than either.
	alike = 0.95
	// ridge lets columns that are the same be looked at like those that are nearly so.
	ridge = 1e-9
)

// doubts tells how well rows settle weights. The errors are those of least squares without the constraint: of one that
// is held at 0, too, it says how much more than 0 it may be.
func doubts(rows [][]float64, want []float64, least float64, weights []float64) []doubt {
	columns := len(weights)
	out := make([]doubt, columns)
	norm := make([]float64, columns)
	var used []int
	for c := range columns {
		out[c] = doubt{off: math.Inf(1), inflated: math.Inf(1), with: make([]float64, columns)}
		for r, row := range rows {
			x := row[c] / max(want[r], least)
			norm[c] += x * x
		}
		if norm[c] = math.Sqrt(norm[c]); norm[c] > 0 {
			used = append(used, c)
		}
	}
	products := make([][]float64, len(used)) // of columns brought to length 1
	for i, c := range used {
		products[i] = make([]float64, len(used))
		for j, d := range used {
			for r, row := range rows {
				weight := 1 / max(want[r], least)
				products[i][j] += row[c] / norm[c] * weight * row[d] / norm[d] * weight
			}
		}
		products[i][i] += ridge
	}
	inverse := invert(products)
	variance := relativeError(rows, want, least, weights) / float64(max(1, len(rows)-len(used)))
	for i, c := range used {
		out[c].off = 2 * math.Sqrt(variance*inverse[i][i]) / norm[c]
		out[c].inflated = inverse[i][i]
		for j, d := range used {
			out[c].with[d] = inverse[i][j] / math.Sqrt(inverse[i][i]*inverse[j][j])
		}
	}
	return out
}

// invert inverts a matrix that has an inverse, a column at a time.
func invert(m [][]float64) [][]float64 {
	inverse := make([][]float64, len(m))
	for i := range inverse {
		inverse[i] = make([]float64, len(m))
	}
	for c := range m {
		system := make([][]float64, len(m))
		for r, row := range m {
			system[r] = append(slices.Clone(row), 0)
		}
		system[c][len(m)] = 1
		eliminate(system)
		for r := range system {
			inverse[r][c] = system[r][len(m)]
		}
	}
	return inverse
}
