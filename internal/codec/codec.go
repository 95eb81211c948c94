package codec

// Codec serialises values. Implementations must be safe for concurrent use.
//
// A user's own codec takes an ID of 64 to 255 that stays its own for as long as records live in the
// remote tier.
type Codec interface {
	// ID is stored with every value, so that what another codec wrote is never misread.
	ID() uint8
	// Name appears in errors and in the name of the cache's format.
	Name() string
	// Append appends v, the value itself and not a pointer to it, to dst and returns the extended
	// slice. It must neither change nor keep what dst already holds.
	Append(dst []byte, v any) ([]byte, error)
	// Decode reads data into the value that into, a pointer, points to. It must accept any bytes
	// without harm, must not change data, and must not keep it: copy what you keep.
	Decode(data []byte, into any) error
}

// The ids of this library's codecs are part of the stored format.
const (
	idJSON        uint8 = 1
	idMessagePack uint8 = 2
	idProtobuf    uint8 = 3
	idRaw         uint8 = 4

	// minUserID is the first id that a user's own codec may have.
	minUserID uint8 = 64
)

// pointerCodec is a codec that can take the value by pointer: nothing is copied to the heap, and
// methods with pointer receivers are found when encoding as they are when decoding.
type pointerCodec interface {
	Codec
	appendPointer(dst []byte, p any) ([]byte, error)
}

// isBuiltin reports whether c is one of this library's codecs.
func isBuiltin(c Codec) bool {
	switch c.(type) {
	case *jsonCodec, messagePackCodec, protobufCodec, rawCodec:
		return true
	}
	return false
}
