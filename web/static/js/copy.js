// Buttons that copy a text of the page: `data-copy` is the id of the element that shows it.

async function copy(button) {
  const shown = document.getElementById(button.dataset.copy);
  const copied = await toClipboard(shown.textContent);
  if (!copied) getSelection().selectAllChildren(shown);
  button.textContent = copied ? "Copied" : "Selected";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

/** Browsers give their clipboard to pages that came by HTTPS only; the old way works for the others. */
async function toClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (button) copy(button);
});
