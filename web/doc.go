// Package web is the page: HTML, CSS and ES modules that browsers run as they
// are, without a build step, and what they use of others in vendor/ (bundled by
// vendor/build, licences beside it). gateway serves it; nothing is loaded from
// elsewhere. docs/page.md explains the views, app.js is where reading begins.
package web
