package load

// libraries returns the folder of libllama's libraries, checked.
func (o Options) libraries() (string, error) { return o.Llama.Libraries, nil }
