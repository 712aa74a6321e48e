
"use strict";
{
  const make = (tag, text, parent) => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };

  // What a cell is sorted by: the number behind it, or its text.
  const key = cell => {
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    return cell.tagName === "TH" ? cell.textContent : null;
  };
  const order = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  // The first time names go up and numbers down, then the other way round.
  const sort = (table, head, column) => {
    const ways = head.classList.contains("label") ? ["ascending", "descending"] : ["descending", "ascending"];
    const way = head.getAttribute("aria-sort") === ways[0] ? ways[1] : ways[0];
    const sign = way === "ascending" ? 1 : -1;
    table.querySelectorAll("[aria-sort]").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", way);
    const body = table.tBodies[0];
    const rows = [...body.rows].map(row => [key(row.cells[column]), row]);
    const there = rows.filter(([value]) => value !== null).sort(([a], [b]) => sign * order(a, b));
    const missing = rows.filter(([value]) => value === null);
    body.append(...[...there, ...missing].map(([, row]) => row));
  };
  document.querySelectorAll("table.sortable").forEach(table => {
    const heads = [...table.tHead.rows].at(-1).cells;
    [...heads].forEach((head, column) => {
      const button = make("button", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => sort(table, head, column));
      head.replaceChildren(button);
    });
  });

  // Filters of the tables below a bar.
  document.querySelectorAll(".filters").forEach(bar => {
    const part = bar.parentElement;
    const rows = [...part.querySelectorAll("tbody tr")];
    const names = (bar.dataset.filters ?? "method backbone").split(" ");
    const of = (row, name) => row.querySelector(`th[data-of="${name}"]`)?.textContent;
    const chosen = {};
    const said = make("span", "");
    said.setAttribute("role", "status");
    const apply = () => {
      const fits = row => names.every(name => !chosen[name] || of(row, name) === chosen[name]);
      rows.forEach(row => { row.hidden = !fits(row); });
      part.querySelectorAll("[data-shot]").forEach(cell => {
        cell.hidden = Boolean(chosen.shot) && cell.dataset.shot !== chosen.shot;
      });
      part.querySelectorAll(".own").forEach(own => {
        const shots = [...own.querySelectorAll("thead [data-shot]")];
        const none = shots.length > 0 && shots.every(head => head.hidden);
        own.hidden = none || ![...own.querySelectorAll("tbody tr")].some(row => !row.hidden);
      });
      const left = rows.filter(row => !row.hidden && !row.closest(".own").hidden).length;
      said.textContent = left < rows.length ? `${left} of ${rows.length} rows` : "";
    };
    const choice = (name, values) => {
      if (values.length < 2) return;
      const label = make("label", `${name} `, bar);
      const select = make("select", "", label);
      make("option", "all", select).value = "";
      values.forEach(value => { make("option", name === "shot" ? `${value}-shot` : value, select).value = value; });
      select.addEventListener("change", () => { chosen[name] = select.value; apply(); });
    };
    const distinct = values => [...new Set(values.filter(Boolean))];
    names.forEach(name => choice(name, distinct(rows.map(row => of(row, name)))));
    choice("shot", distinct([...part.querySelectorAll("thead [data-shot]")].map(head => head.dataset.shot)));
    bar.hidden = bar.childElementCount === 0;
    bar.append(said);
  });

  // Buttons that copy; without a clipboard the text is selected.
  document.querySelectorAll("pre.copy").forEach(text => {
    const button = make("button", "Copy");
    button.type = "button";
    button.className = "act";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text);
        button.textContent = "Selected: copy it with your keyboard";
      }
    });
    text.before(button);
  });

  // A link into a folded part opens it, and all that it lies in.
  const open = () => {
    let part = location.hash ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
    const target = part;
    for (; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();

  // Escape closes an enlarged tile of an episode.
  addEventListener("keydown", event => {
    if (event.key !== "Escape" || !location.hash.startsWith("#episode-")) return;
    document.getElementById(location.hash.slice(1))?.querySelector(".episode-close")?.click();
  });
}
