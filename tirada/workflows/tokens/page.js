(() => {
  "use strict";
  const PAGE = 50, FIRST = 4;
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const make = (name, text, parent) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };
  const orders = {
    rank: (a, b) => a[2] - b[2] || a[0] - b[0],
    common: (a, b) => b[2] - a[2] || a[0] - b[0],
    number: (a, b) => a[0] - b[0],
  };
  const total = data.rows.length;
  const count = (number) => number.toLocaleString("en");
  let page = 0, found = [];

  const selects = data.traits.map((trait) => {
    const label = make("label", trait.title, at("traits"));
    const select = make("select", undefined, label);
    make("option", "any", select).value = "-1";
    trait.values.map(([name, number], place) => [name, number, place]).filter(([, number]) => number)
      .sort((a, b) => a[1] - b[1] || a[2] - b[2])
      .forEach(([name, number, place]) => { make("option", `${name} (${count(number)})`, select).value = place; });
    return select;
  });
  for (const name of ["Image", "Token", "Rank", ...data.traits.map((trait) => trait.title)]) {
    make("th", name, at("heads")).scope = "col";
  }

  function filter() {
    const wanted = selects.map((select) => Number(select.value));
    const number = at("number").value.replace(/^\D+/, "").trim();
    found = data.rows.filter((row) =>
      wanted.every((value, trait) => value < 0 || row[FIRST + trait] === value) && (!number || String(row[0]) === String(Number(number))));
    found.sort(orders[at("order").value]);
    for (const select of selects) select.classList.toggle("on", select.value !== "-1");
    show(0);
  }

  function show(wanted) {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(Math.max(wanted, 0), pages - 1);
    at("found").textContent = found.length === total ? `${count(total)} tokens` : `${count(found.length)} of ${count(total)} tokens`;
    at("where").textContent = `Page ${count(page + 1)} of ${count(pages)}`;
    at("before").disabled = page === 0;
    at("after").disabled = page === pages - 1;
    at("rows").replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(line));
    if (found.length) return;
    const none = make("tr", undefined, at("rows"));
    none.className = "none";
    make("td", "No token has all of these.", none).colSpan = 3 + data.traits.length;
  }

  function line(row) {
    const [number, file, rank, score] = row, name = `${data.token} #${number}`;
    const tr = document.createElement("tr");
    const link = make("a", undefined, make("td", undefined, tr));
    link.href = file;
    const image = make("img", undefined, link);
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = name;
    [image.width, image.height] = data.size;
    image.src = file;
    make("td", name, tr);
    make("small", `score ${score.toFixed(3)}`, make("td", `${count(rank)} of ${count(total)}`, tr));
    data.traits.forEach((trait, place) => {
      const value = trait.values[row[FIRST + place]];
      const cell = make("td", value ? value[0] : "", tr);
      if (value) make("small", `${count(value[1])} (${(100 * value[1] / total).toFixed(2)}%)`, cell);
    });
    return tr;
  }

  const form = document.querySelector(".filters");
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  const turn = (pages) => { show(page + pages); document.querySelector("main").scrollIntoView({ block: "start" }); };
  at("before").addEventListener("click", () => turn(-1));
  at("after").addEventListener("click", () => turn(1));
  filter();
})();
