package web

import "embed"

// Files are the page as it is served: / is index.html.
//
//go:embed index.html style.css icon.svg *.js view vendor/vendor.js vendor/uplot.css vendor/LICENSES.txt
var Files embed.FS
