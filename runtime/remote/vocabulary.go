package remote

// What a server is asked when an engine is opened, to find out whether its vocabulary
// is the model's.
const (
	// CheckedLabels is how many labels' answers are compared.
	CheckedLabels = 8
	// OddText holds what tokenisers are known to disagree on.
	OddText = "Ünïcode 東京 🙂 1234567  two  spaces\n\n  ))))))\tI'm THE_end…"
)
