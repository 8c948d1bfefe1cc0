// Runs before anything is painted: light or dark as this browser's user last chose. theme_switch.js changes it.
try {
  const chosen = localStorage.getItem("lookalike-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Refused by the browser's settings: the system's wish counts.
}
