// Package page drives a browser over the live page: Debian's chromium, with
// playwright-core and axe-core from npm. Behind it is the shop of test/page/shop.
// The checks are in *.test.mjs; they skip without a browser and fail instead
// where everything is required. docs/record takes the
// pictures of docs/page.md with the same browser.
package page
