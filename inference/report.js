// Sorts the table by the column whose header is pressed; everything else on the page works without this.
"use strict";
const table = document.getElementById("videos");
const headers = [...table.tHead.rows[0].cells];
const names = new Intl.Collator("en", { numeric: true });

function compare(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === ""); // no score: last, whichever way
  return sign * (a - b);
}

function sortBy(column) {
  const header = headers[column];
  const first = header.className === "number" ? "descending" : "ascending";
  const other = first === "descending" ? "ascending" : "descending";
  const order = header.getAttribute("aria-sort") === first ? other : first;
  const sign = order === "ascending" ? 1 : -1;
  const cell = (group) => group.rows[0].cells[column];
  const groups = [...table.tBodies];
  if (column === 0) groups.sort((a, b) => sign * names.compare(cell(a).textContent, cell(b).textContent));
  else groups.sort((a, b) => compare(cell(a).dataset.key, cell(b).dataset.key, sign));
  table.append(...groups);
  for (const each of headers) each.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
}

headers.forEach((header, column) => {
  const button = header.querySelector("button");
  button.disabled = false;
  button.addEventListener("click", () => sortBy(column));
});
