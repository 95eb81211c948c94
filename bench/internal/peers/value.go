package peers

import "strconv"

// Account is the struct that is stored: of six fields, and of a size and kinds that are usual.
type Account struct {
	ID      int64   `json:"id"`
	Name    string  `json:"name"`
	Email   string  `json:"email"`
	Age     int32   `json:"age"`
	Active  bool    `json:"active"`
	Balance float64 `json:"balance"`
}

// NewAccount returns the account of number i. Its ID is i.
func NewAccount(i int) Account {
	return Account{ID: int64(i), Name: "Ada Lovelace", Email: "ada." + strconv.Itoa(i) + "@example.com", Age: 36, Active: i%2 == 0, Balance: float64(i) + 0.56}
}

// BlobBytes is the size of what NewBlob returns.
const BlobBytes = 1024

// NewBlob returns a KiB of its own for i, which does not compress: a library that compresses gains nothing by it.
func NewBlob(i int) []byte {
	b := make([]byte, BlobBytes)
	x := uint64(i)
	for j := range b {
		if j%8 == 0 { // SplitMix64: any two numbers give blobs that differ
			x += 0x9e3779b97f4a7c15
		}
		z := (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9
		z = (z ^ (z >> 27)) * 0x94d049bb133111eb
		b[j] = byte((z ^ (z >> 31)) >> (8 * (j % 8)))
	}
	return b
}
