// Package yamlfile reads YAML that people write, and says where it is wrong.
//
// In go the bytes of a file and what they are to be decoded into. Out come all
// that the YAML package found wrong, each with file, line and column, and the
// document, which knows the place of what others find wrong later.
package yamlfile
