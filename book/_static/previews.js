// A statement, shown beside a link to it while the pointer or the focus is there.
// The popover is Bootstrap's, which the theme brings; the statements are in previews/, a file each.
window.previews = {};

const root = document.documentElement.dataset.content_root;
const statement = /#((?:def|thm|lem|prop|cor)-[a-z0-9-]+)$/;
let shown; // the popover that is open, if any
let timer;

function load(label) {
  return new Promise((resolve, reject) => {
    if (previews[label]) return resolve();
    const script = document.createElement("script");
    script.src = `${root}_static/previews/${label}.js`;
    Object.assign(script, { onload: resolve, onerror: reject });
    document.head.append(script);
  });
}

function hide() {
  clearTimeout(timer);
  shown?.dispose();
  shown = undefined;
}

async function show(link, label) {
  await load(label);
  hide();
  const content = document.createElement("div");
  content.innerHTML = previews[label];
  shown = new bootstrap.Popover(link, {
    animation: false, container: "body", content, customClass: "preview", html: true,
    placement: "auto", sanitize: false, trigger: "manual",
  });
  shown.show();
  await MathJax.typesetPromise([content]);
  shown?.update();
}

function later(action) {
  clearTimeout(timer);
  timer = setTimeout(action, 250); // time enough to cross a link, or to move into the popover
}

function enter(event) {
  if (event.target.closest?.(".preview")) return clearTimeout(timer);
  const link = event.target.closest?.("article a[href]");
  const label = link?.getAttribute("href").match(statement)?.[1];
  if (label && !link.matches(".headerlink")) later(() => show(link, label));
}

function leave(event) {
  if (event.target.closest?.("article a[href], .preview")) later(hide);
}

document.addEventListener("pointerover", (event) => event.pointerType == "mouse" && enter(event));
document.addEventListener("pointerout", (event) => event.pointerType == "mouse" && leave(event));
document.addEventListener("focusin", enter);
document.addEventListener("focusout", leave);
document.addEventListener("keydown", (event) => event.key == "Escape" && hide());
