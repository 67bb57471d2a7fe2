package status

import "runtime/debug"

// release is set by the linker where images are built.
var release string

// Version is that of the program: its release, or the commit it was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if release != "" || !ok {
		return release
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && (info.Main.Version == "" || info.Main.Version == "(devel)") {
			return s.Value[:12]
		}
	}
	return info.Main.Version
}
