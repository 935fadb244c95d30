package load

import (
	"cubby/internal/libraries"
	"cubby/models"
)

// libraries returns those of libllama: the folder that was named, or the installed
// ones, as their description tells.
func (o Options) libraries() (libraries.Runtime, error) {
	if o.Llama.Libraries != "" {
		return libraries.Folder(o.Llama.Libraries)
	}
	home := o.Home
	if home == "" {
		var err error
		if home, err = models.Home(); err != nil {
			return libraries.Runtime{}, err
		}
	}
	return libraries.Find(home, "")
}

// verified returns the folder of libraries whose every file was hashed, where they
// are installed: they can do all that this program can.
func (o Options) verified() (string, error) {
	r, err := o.libraries()
	if err == nil && r.Name != "" {
		err = r.Verify()
	}
	return r.Folder, err
}
