package lane

import "fmt"

// Floors parses the hash of a lane's floors: ids by the name of their cache. A field that is not an
// id is left out, as if the floor had not been raised, and counted as unreadable: it must not keep
// every instance from trusting its local tier. Only a program that may write to Redis puts one
// there, and it could remove the field just as well. The next raise of that floor replaces it.
func Floors(fields map[string]string) (floors map[string]uint64, unreadable int) {
	floors = make(map[string]uint64, len(fields))
	for name, text := range fields {
		if !addFloor(floors, name, text) {
			unreadable++
		}
	}
	return floors, unreadable
}

// ParseFloors parses the reply of a script with the floors of a lane, alternating names and ids, as
// Floors does.
func ParseFloors(reply any) (floors map[string]uint64, unreadable int, err error) {
	list, ok := reply.([]any)
	if !ok || len(list)%2 != 0 {
		return nil, 0, fmt.Errorf("lane: floors of type %T with %d parts, want pairs", reply, len(list))
	}
	floors = make(map[string]uint64, len(list)/2)
	for i := 0; i < len(list); i += 2 {
		name, isName := list[i].(string)
		text, isText := list[i+1].(string)
		if !isName || !isText {
			return nil, 0, fmt.Errorf("lane: a floor of types %T and %T, want strings", list[i], list[i+1])
		}
		if !addFloor(floors, name, text) {
			unreadable++
		}
	}
	return floors, unreadable, nil
}

// addFloor adds a floor, unless it is not an id.
func addFloor(floors map[string]uint64, name, text string) bool {
	id, err := Parse(text)
	if err == nil {
		floors[name] = uint64(id)
	}
	return err == nil
}
