package lane

// Floors reads the hash of a lane's floors: ids by the name of their cache. A field that is not an id says nothing, as if it
// were not there, and is counted as unreadable: one such field must not keep every instance from trusting its local tier.
// Only a program that may write to Redis puts one there, and it could remove the field just as well. The next raise of
// that floor replaces it.
func Floors(fields map[string]string) (floors map[string]uint64, unreadable int) {
	floors = make(map[string]uint64, len(fields))
	for name, text := range fields {
		id, err := Parse(text)
		if err != nil {
			unreadable++
			continue
		}
		floors[name] = uint64(id)
	}
	return floors, unreadable
}
