"use strict";
(function () {
  const table = document.getElementById("models");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const search = document.getElementById("search");
  const none = document.getElementById("none");
  const count = document.getElementById("count");
  const cards = Array.from(document.querySelectorAll("button.card"));
  let status = "";

  function key(row, column) {
    const cell = row.cells[column];
    return cell.dataset.key === undefined ? cell.textContent : cell.dataset.key;
  }

  function sort(header, descending) {
    const column = header.cellIndex;
    const number = header.classList.contains("n");
    const order = rows.map(function (row, place) { return [key(row, column), place, row]; });
    order.sort(function (a, b) {
      if (number) {
        // What has no number stays at the end, whichever way round.
        if (a[0] === "" || b[0] === "") return (a[0] === "") - (b[0] === "") || a[1] - b[1];
        const d = Number(a[0]) - Number(b[0]);
        return (descending ? -d : d) || a[1] - b[1];
      }
      const d = a[0].localeCompare(b[0], "en", { numeric: true, sensitivity: "base" });
      return (descending ? -d : d) || a[1] - b[1];
    });
    for (const item of order) body.appendChild(item[2]);
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = (!status || row.dataset.status === status) &&
        words.every(function (word) { return text.includes(word); });
      row.hidden = !fits;
      if (fits) shown += 1;
    }
    none.hidden = shown > 0;
    count.textContent = shown === rows.length ? rows.length + " models" : shown + " of " + rows.length + " models";
    for (const card of cards) card.setAttribute("aria-pressed", String(card.dataset.status === status));
    remember();
  }

  function remember() {
    const sorted = table.querySelector("th[aria-sort]");
    const state = new URLSearchParams();
    if (search.value) state.set("q", search.value);
    if (status) state.set("status", status);
    if (sorted) state.set("sort", (sorted.getAttribute("aria-sort") === "descending" ? "-" : "") + sorted.dataset.name);
    try { history.replaceState(null, "", "#" + state.toString()); } catch (error) { /* a copy in a frame */ }
  }

  for (const header of table.tHead.rows[0].cells) {
    header.querySelector("button").addEventListener("click", function () {
      sort(header, header.getAttribute("aria-sort") === "ascending");
      remember();
    });
  }
  search.addEventListener("input", filter);
  for (const card of cards) {
    card.addEventListener("click", function () {
      status = status === card.dataset.status ? "" : card.dataset.status;
      filter();
    });
  }

  const state = new URLSearchParams(location.hash.slice(1));
  search.value = state.get("q") || "";
  status = state.get("status") || "";
  const wanted = state.get("sort") || "";
  for (const header of table.tHead.rows[0].cells) {
    if (header.dataset.name === wanted.replace(/^-/, "")) sort(header, wanted.startsWith("-"));
  }
  filter();
})();
