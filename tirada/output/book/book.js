"use strict";
(() => {
  const book = document.querySelector(".book");
  const leaves = [...book.querySelectorAll(".leaf")];
  const bar = document.querySelector(".turn");
  const [back, on] = bar.querySelectorAll("button");
  const where = bar.querySelector(".where");
  const pages = leaves.filter((leaf) => leaf.querySelector(".folio")).length;
  let now = 0;

  const show = (wanted) => {
    now = Math.min(Math.max(wanted, 0), leaves.length - 1);
    leaves.forEach((leaf, at) => {
      leaf.classList.toggle("past", at < now);
      leaf.classList.toggle("now", at === now);
      leaf.classList.toggle("next", at === now + 1);
      leaf.style.zIndex = String(leaves.length - at);
      leaf.inert = at !== now;
      const picture = leaf.querySelector("img");
      if (Math.abs(at - now) < 3) picture.loading = "eager";
    });
    back.disabled = now === 0;
    on.disabled = now === leaves.length - 1;
    const number = leaves[now].querySelector(".folio");
    where.textContent = number ? `${number.textContent} / ${pages}` : "";
    const id = `#${leaves[now].id}`;
    if (location.hash !== id) history.replaceState(null, "", id);
  };
  const named = () => leaves.findIndex((leaf) => `#${leaf.id}` === location.hash);

  const keys = {
    ArrowRight: () => now + 1, PageDown: () => now + 1, " ": () => now + 1, ArrowDown: () => now + 1,
    ArrowLeft: () => now - 1, PageUp: () => now - 1, ArrowUp: () => now - 1,
    Home: () => 0, End: () => leaves.length - 1,
  };
  addEventListener("keydown", (event) => {
    const typed = event.key === " " && event.target.closest("button");
    if (typed || !(event.key in keys) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    show(keys[event.key]());
  });
  bar.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) show(now + Number(button.dataset.turn));
  });

  let start = null;
  book.addEventListener("pointerdown", (event) => {
    start = event.isPrimary && event.button === 0 ? { x: event.clientX, y: event.clientY } : null;
  });
  book.addEventListener("pointerup", (event) => {
    if (!start) return;
    const across = event.clientX - start.x;
    const down = Math.abs(event.clientY - start.y);
    start = null;
    if (Math.abs(across) > 40 && Math.abs(across) > 1.5 * down) {
      show(across < 0 ? now + 1 : now - 1);
    } else if (Math.abs(across) < 6 && down < 6 && String(getSelection()) === "") {
      const box = book.getBoundingClientRect();
      show(event.clientX < box.left + box.width / 3 ? now - 1 : now + 1);
    }
  });
  addEventListener("hashchange", () => { if (named() >= 0) show(named()); });

  document.body.classList.add("turning");
  bar.hidden = false;
  show(Math.max(named(), 0));
  // The browser scrolls to the page that the address names, which is where it should be already.
  addEventListener("load", () => {
    scrollTo(0, 0);
    requestAnimationFrame(() => document.body.classList.add("moving"));
  });
})();
