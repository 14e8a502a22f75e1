/* A classic script, so that the chosen theme is there before the first paint. */
{
  const chosen = localStorage.getItem("sora-ws.theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
}
