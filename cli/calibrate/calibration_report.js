// Sorts the table of classes by the column whose header was clicked.
const table = document.getElementById("classes");
const key = (row, column) => {
  const cell = row.cells[column];
  const number = parseFloat(cell.dataset.value ?? cell.textContent);
  return column === 0 || Number.isNaN(number) ? cell.textContent : number;
};
table.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
  const head = button.parentElement, column = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  table.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    const [x, y] = [key(a, column), key(b, column)];
    return (typeof x === "number" ? x - y : x.localeCompare(y)) * (up ? 1 : -1);
  });
  table.tBodies[0].append(...rows);
}));
