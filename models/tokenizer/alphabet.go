package tokenizer

// alphabet is the byte alphabet of GPT-2: byte-level vocabularies write every
// byte as one printable character. Bytes that print as themselves in Latin-1
// stand for themselves, the others are numbered from U+0100 in order.
// letterBytes is its inverse; -1 where a rune is outside the alphabet.
var alphabet, letterBytes = makeAlphabet()

func makeAlphabet() (letters [256]rune, inverse [324]int16) {
	for i := range inverse {
		inverse[i] = -1
	}
	next := rune(256)
	for b := range rune(256) {
		letters[b] = b
		if b <= ' ' || b >= 0x7f && b <= 0xa0 || b == 0xad {
			letters[b] = next
			next++
		}
		inverse[letters[b]] = int16(b)
	}
	return letters, inverse
}

// appendBytes appends the bytes that text stands for; false where a character
// of it is outside the byte alphabet.
func appendBytes(dst []byte, text string) ([]byte, bool) {
	for _, r := range text {
		if int(r) >= len(letterBytes) || letterBytes[r] < 0 {
			return dst, false
		}
		dst = append(dst, byte(letterBytes[r]))
	}
	return dst, true
}

// appendLetters appends the byte alphabet's spelling of raw.
func appendLetters(dst []byte, raw string) []byte {
	for i := range len(raw) {
		r := alphabet[raw[i]]
		if r < 0x80 {
			dst = append(dst, byte(r))
		} else {
			dst = append(dst, byte(0xc0|r>>6), byte(0x80|r&0x3f))
		}
	}
	return dst
}
