(() => {
  "use strict";
  const figures = document.querySelectorAll("main figure");
  const viewer = document.querySelector(".viewer");
  const find = (selector) => viewer.querySelector(selector);
  const picture = find(".stage img");
  const promptOf = (figure) => figure?.dataset.own ?? document.getElementById(figure?.dataset.prompt ?? "prompt").textContent;
  const bare = location.href.split("#")[0];
  let current = -1;
  if (!viewer.showModal) return;
  document.documentElement.classList.add("js");

  const remember = (url) => { try { history.replaceState(null, "", url); } catch { /* some browsers refuse on file: */ } };
  const preload = (index) => { if (figures[index]) new Image().src = figures[index].querySelector("a").href; };

  function show(index) {
    if (index < 0 || index >= figures.length) return;
    const step = current < 0 ? 1 : Math.sign(index - current) || 1;
    current = index;
    const figure = figures[index], link = figure.querySelector("a"), thumb = figure.querySelector("img");
    picture.src = link.href;
    picture.alt = thumb.alt;
    picture.width = thumb.getAttribute("width");
    picture.height = thumb.getAttribute("height");
    find(".where").textContent = `${index + 1} / ${figures.length}`;
    find(".facts").textContent = [...figure.querySelectorAll("figcaption .fact")].map((fact) => fact.textContent).join(" · ");
    find("[data-what=seed]").hidden = !figure.dataset.seed;
    find(".file").href = link.href;
    find(".prev").hidden = index === 0;
    find(".next").hidden = index === figures.length - 1;
    const opening = !viewer.open;
    if (opening) viewer.showModal();
    if (opening || document.activeElement.hidden) viewer.focus();
    remember(`${bare}#${figure.id}`);
    preload(index + step);
  }

  function fromHash() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    const index = target ? [...figures].indexOf(target) : -1;
    if (index >= 0) show(index); else if (viewer.open) viewer.close();
  }

  function legacyCopy(text, near) {
    const area = document.createElement("textarea");
    area.className = "clip";
    area.value = text;
    near.parentElement.append(area);
    area.select();
    let done = false;
    try { done = document.execCommand("copy"); } catch { /* reported below */ }
    area.remove();
    near.focus();
    return done;
  }

  async function copy(button) {
    const text = button.dataset.what === "seed" ? figures[current].dataset.seed : promptOf(figures[current]);
    let done = true;
    try { await navigator.clipboard.writeText(text); } catch { done = legacyCopy(text, button); }
    button.dataset.label ??= button.textContent;
    button.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = button.dataset.label; }, 1400);
  }

  document.querySelector("main").addEventListener("click", (event) => {
    const link = event.target.closest("figure a");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    show([...figures].indexOf(link.closest("figure")));
  });
  for (const button of document.querySelectorAll(".copy")) button.addEventListener("click", () => copy(button));
  find(".prev").addEventListener("click", () => show(current - 1));
  find(".next").addEventListener("click", () => show(current + 1));
  find(".close").addEventListener("click", () => viewer.close());
  find(".stage").addEventListener("click", (event) => { if (event.target !== picture) viewer.close(); });

  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const places = { ArrowLeft: current - 1, ArrowUp: current - 1, ArrowRight: current + 1, ArrowDown: current + 1,
      PageUp: current - 1, PageDown: current + 1, Home: 0, End: figures.length - 1 };
    if (!Object.hasOwn(places, event.key)) return;
    event.preventDefault();
    show(places[event.key]);
  });
  viewer.addEventListener("close", () => {
    const figure = figures[current];
    current = -1;
    picture.removeAttribute("src");
    remember(bare);
    figure.scrollIntoView({ block: "nearest" });
    figure.querySelector("a").focus({ preventScroll: true });
  });

  let start = null;
  find(".stage").addEventListener("pointerdown", (event) => { start = event.pointerType === "mouse" ? null : event.clientX; });
  find(".stage").addEventListener("pointerup", (event) => {
    const moved = start === null ? 0 : event.clientX - start;
    start = null;
    if (Math.abs(moved) > 40) show(current - Math.sign(moved));
  });

  addEventListener("hashchange", fromHash);
  fromHash();
})();
