// Sets the colours before anything is drawn: the viewer's choice, else the
// system's.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem('weir-theme'); } catch { /* a browser without storage */ }
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.dataset.theme = chosen || (dark ? 'dark' : 'light');
})();
