"use strict";
// A click on a column head sorts the table: descending first, then ascending; the text column from A first.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column].textContent.trim();
  const sortBy = (column) => {
    const head = heads[column];
    const down = head.getAttribute("aria-sort") !== "descending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [Number.parseFloat(value(a, column)), Number.parseFloat(value(b, column))];
      if (column === 0) return value(b, 0).localeCompare(value(a, 0));
      return (Number.isNaN(x) ? -1 : x) - (Number.isNaN(y) ? -1 : y);
    });
    table.tBodies[0].append(...(down ? rows.reverse() : rows));
  };
  heads.forEach((head, column) => {
    head.tabIndex = 0;
    head.addEventListener("click", () => sortBy(column));
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sortBy(column); });
  });
}

// The list of videos is sorted and filtered in place.
const list = document.querySelector(".videos");
if (list) {
  const cards = [...list.children];
  const sort = document.querySelector("#sort");
  const filter = document.querySelector("#filter");
  const shown = document.querySelector("#shown");
  const number = (card, key) => Number.parseFloat(card.dataset[key] || "-1");
  const arrange = () => {
    const [key, words] = [sort.value, filter.value.toLowerCase().split(/\s+/).filter(Boolean)];
    const text = key === "name" || key === "label";
    cards.sort((a, b) => (text ? a.dataset[key].localeCompare(b.dataset[key]) : number(b, key) - number(a, key))
      || a.dataset.name.localeCompare(b.dataset.name));
    let count = 0;
    for (const card of cards) {
      card.hidden = !words.every((word) => card.dataset.search.includes(word));
      count += card.hidden ? 0 : 1;
    }
    list.append(...cards);
    shown.textContent = count;
  };
  sort.addEventListener("change", arrange);
  filter.addEventListener("input", arrange);

  // Time and score under the pointer, from the steps "V<y>H<x>" of the drawn path (100 high, 1000 wide).
  const steps = (path) => [...path.getAttribute("d").matchAll(/V(\d+)H(\d+)/g)].map((m) => [+m[2], 1 - m[1] / 100]);
  list.addEventListener("pointermove", (event) => {
    const picture = event.target.closest(".timeline");
    if (!picture) return;
    const card = picture.closest("article");
    const box = picture.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    const [, score] = steps(picture.querySelector("path.score")).find(([end]) => end >= 1000 * share) ?? [];
    const seconds = Math.floor(share * card.dataset.seconds);
    const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
    const parts = [...(hours ? [hours, String(minutes).padStart(2, "0")] : [minutes]), String(seconds % 60).padStart(2, "0")];
    const clock = parts.join(":");
    if (score !== undefined) card.querySelector(".at").textContent = `${clock} · ${(100 * score).toFixed(0)}`;
  });
}
