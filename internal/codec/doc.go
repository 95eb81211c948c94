// Package codec turns the values of one cache into bytes and back.
//
// # Two forms
//
// A value is stored in one of two forms, and the remote tier's record says which.
//
// [Number] is canonical decimal ASCII without anything around it, so that a script in Redis can
// increment it exactly over all of int64. Integers, and integers held by an interface, are stored
// this way unless a [Keyring] or a codec of the user's own is set.
//
// [Enveloped] is everything else:
//
//	offset  size  field
//	0       1     version, 1
//	1       1     codec id: 1..63 this library's, 64..255 users'
//	2       1     flags: bits 0-1 compression, bit 2 encrypted, bit 3 the value is nil,
//	              bit 4 encrypted together with what stands beside it
//	3       4     CRC-32C, big-endian, of the key and then of every other byte of the envelope
//	7       ...   if compressed: uvarint, the size once decompressed
//	              if encrypted: length of the key's id (1), the id, nonce (12)
//	              the payload
//
// The value is serialised, then compressed, then encrypted. The additional data of AES-256-GCM are
// the header without its checksum and nonce, and then the cache key: a record moved to another key,
// or whose header was changed, does not decrypt. The checksum finds accidents (another key,
// truncation, flipped bits); only encryption resists malice.
//
// # What is guaranteed
//
// A call that fails leaves the zero value behind and never a part of one. No error's text holds a
// part of a value or of an encryption key. A panic in a codec, the user's or a library's, becomes
// an error. Decoded values share no memory with the data they came from. Records are decoded
// whatever compression they were written with, and with any key of the keyring, so both can be
// changed while a fleet runs; with a keyring set, what is not encrypted is refused.
//
// What Go cannot recover from stays fatal: exhausting the stack or the memory. JSON and Protobuf
// bound the depth of what they decode, and the MessagePack codec checks depth and every declared
// length before the library sees the data, also those of a map in the body of an extension. A
// cyclic value is an error in JSON; do not give one to MessagePack.
//
// # What a record may cost
//
// A compressed payload may expand to 1 MiB and 1,024 times its compressed size; what compresses
// better is stored as it is. Decoding JSON, MessagePack or Protocol Buffers may take 1 MiB of
// memory and 128 times the payload's size, of which 64 times the compressed size count: the
// payload's parts are counted, and weighed by the largest that the type can make of them. What
// would take more is a [CostError], before room is made for it. Garbage comes on top: decoders let
// slices and maps grow step by step. A user's own codec bounds its memory by itself.
//
// # Types
//
// New refuses types that JSON or MessagePack could write and never read back, at every depth: those
// with a method that writes them and none that reads them, interfaces with methods, channels and
// functions, maps in JSON whose keys are neither strings nor integers and have no UnmarshalText,
// and structs none of whose fields is exported. A field that is not exported beside others is left
// out, as the codec does it. Exact tells where decoding gives all values back as they were.
//
// # nil
//
// A nil pointer, map, slice or interface as the whole value is a flag of the envelope and comes
// back as nil, distinct from empty, whatever the codec. Inside a value the codec's own rules hold.
//
// # JSON
//
// JSON means what encoding/json means by it: the same tags, methods, names and null rules. It
// differs in this:
//
//   - A string that is not valid UTF-8 is an error when encoding. encoding/json replaces its bytes, and the remote tier
//     would answer with another value than the local tier.
//   - <, > and & are not escaped, and map keys are not sorted.
//   - A json.Number with the tag option string must hold a number when decoding; encoding/json does not look.
//   - A method with a pointer receiver that encodes is called for the value itself too, as the one that decodes is.
//
// Numbers inside an interface decode to float64, as with encoding/json, whatever their size; an
// integer as the whole value of an interface is stored as a Number and comes back as int64, or as
// uint64 above math.MaxInt64.
package codec
