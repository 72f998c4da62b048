(() => {
  "use strict";
  const EVERY = 700;  // milliseconds between two looks at the state
  const byId = id => document.getElementById(id);
  const SELECTS = ["metadata", "panel", "batch_key", "control_key", "control", "reference", "strata", "layer"];
  const INPUTS = ["cofactor", "max_epochs", "output", "report"];
  const FLAGS = ["compensate", "anonymize"];
  let state = null, browsing = false, shownReport = "", shownRows = "", newest = 0, asked = 0, typing = "";

  history.replaceState(null, "", "/");  // the token is in a cookie now

  // elements

  const make = (tag, text = "", className = "") => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const fill = (parent, children) => {
    const before = parent.innerHTML, next = make(parent.tagName);
    next.append(...children);
    if (next.innerHTML !== before) parent.replaceChildren(...next.childNodes);  // what does not change keeps focus and selection
  };
  const show = (id, isShown) => { byId(id).hidden = !isShown; };
  const format = value => typeof value === "number"
    ? (Number.isInteger(value) ? value.toLocaleString("en") : value.toPrecision(2)) : value === null || value === undefined ? "" : String(value);
  const tabulate = (rows, names) => {
    const columns = Object.keys(names).filter(name => rows.some(row => name in row));
    const table = make("table"), head = table.createTHead().insertRow(), body = table.createTBody();
    const isNumber = name => rows.every(row => typeof row[name] === "number" || row[name] === null);
    columns.forEach(name => head.append(make("th", names[name], isNumber(name) ? "n" : "")));
    for (const row of rows) {
      const line = body.insertRow();
      columns.forEach(name => line.append(make("td", names[name] === "Used" ? (row[name] ? "yes" : "no") : format(row[name]), isNumber(name) ? "n" : name === "how" ? "words" : "")));
    }
    const box = make("div", "", "box");
    box.append(table);
    return box;
  };
  const listMessages = rows => rows.map(({level, text}) => {
    const item = make("li", "", level);
    item.append(make("strong", level), make("span", text));
    return item;
  });
  const formatTime = seconds => seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;

  // asking

  async function ask(path, body) {
    const number = ++asked;
    const how = body === undefined ? {} : {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)};
    let answer;
    try {
      answer = await fetch(path, {cache: "no-store", ...how});
    } catch (error) {
      show("offline", true);
      return null;
    }
    show("offline", answer.status === 403);
    if (!(answer.headers.get("Content-Type") || "").startsWith("application/json")) return null;
    const content = await answer.json();
    const next = path === "api/state" ? content : content.state;
    if (next && number > newest) {
      newest = number;
      state = next;
      render();
    }
    return content;
  }
  const act = (name, body = {}) => ask(`api/${name}`, body);

  async function watch() {
    if (!document.hidden) await ask("api/state");
    setTimeout(watch, EVERY);
  }

  // choosing

  async function openFolder(path) {
    const folder = await ask(`api/folder?path=${encodeURIComponent(path)}`);
    if (!folder || folder.error) {
      if (path !== ".") return openFolder(".");
      return;
    }
    const parts = folder.path === "." ? [] : folder.path.split("/");
    const crumb = (text, target) => {
      const button = make("button", text, "link");
      button.type = "button";
      button.addEventListener("click", () => openFolder(target));
      return button;
    };
    const crumbs = [crumb(state.root.split(/[/\\]/).filter(Boolean).pop() || state.root, ".")];
    parts.forEach((part, i) => crumbs.push(make("span", "/"), crumb(part, parts.slice(0, i + 1).join("/"))));
    byId("crumbs").replaceChildren(...crumbs);
    const entries = folder.entries.map(entry => {
      const item = make("li"), button = make("button");
      const opens = entry.is_folder && !entry.holds.startsWith(".zarr");
      button.type = "button";
      button.append(make("b", entry.name + (opens ? "/" : "")), make("span", entry.holds));
      button.addEventListener("click", () => opens ? openFolder(entry.path) : choose(entry.path));
      item.append(button);
      return item;
    });
    byId("entries").replaceChildren(...(entries.length || folder.holds ? entries : [make("li", "No folders and no .h5ad files are here.")]));
    const button = byId("choose-folder");
    button.hidden = !folder.holds;
    button.textContent = `Take this folder (${folder.holds})`;
    button.onclick = () => choose(folder.path);
  }

  async function choose(path) {
    const content = await act("choose", {path});
    if (content && !content.error) {
      browsing = false;
      shownRows = "";
      render();
    }
  }

  // showing

  const sentinel = {metadata: "none", panel: "none", batch_key: "choose", control_key: "choose", control: "choose",
                    reference: "the mean of all batches", strata: "none", layer: "X"};
  function renderFields() {
    const {fields, choices} = state;
    const options = {metadata: choices.sheets, panel: choices.sheets, batch_key: choices.columns, control_key: choices.columns,
                     control: choices.controls, reference: choices.batches, strata: choices.columns, layer: choices.layers};
    for (const name of SELECTS) {
      const select = byId(name), names = [...options[name]];
      if (fields[name] && !names.includes(fields[name])) names.push(fields[name]);
      fill(select, [["", sentinel[name]], ...names.map(one => [one, one])].map(([value, text]) => {
        const option = make("option", text);
        option.setAttribute("value", value);
        return option;
      }));
      if (document.activeElement !== select || select.value !== fields[name]) select.value = fields[name];
    }
    for (const name of INPUTS) if (typing !== name) byId(name).value = fields[name];
    for (const name of FLAGS) byId(name).checked = fields[name] === "yes";
    const isH5ad = fields.output.endsWith(".h5ad");
    document.querySelectorAll("[name=format]").forEach(radio => { radio.checked = (radio.value === "h5ad") === isH5ad; });
    byId("output-label").textContent = isH5ad ? "To the file" : "To the folder";
    show("format", state.is_fcs || Boolean(state.tables.files));
    show("layer-field", !state.is_fcs);
    const hasOwn = (state.tables.panel || []).some(row => row.cofactor);
    byId("cofactor-hint").textContent = hasOwn ? "Empty: those of the panel." : state.is_fcs
      ? "5 is usual for mass cytometry, 150 for flow cytometry." : "Empty: the values are on the arcsinh scale already.";
  }

  function renderErrors() {
    document.querySelectorAll("[data-error]").forEach(place => {
      const name = place.dataset.error, text = state.errors[name] || "";
      if (place.textContent !== text) place.textContent = text;
      const field = byId(name);
      if (field && field.matches("select, input")) {
        field.classList.toggle("bad", Boolean(text));
        field.setAttribute("aria-invalid", String(Boolean(text)));
      }
    });
    if (["strata", "layer", "max_epochs"].some(name => state.errors[name])) byId("more").open = true;
  }

  function renderMaker() {
    show("maker", state.rows.length > 0);
    const key = JSON.stringify(state.rows.map(row => row.file));
    if (!state.rows.length || key === shownRows) return;
    shownRows = key;
    byId("maker").open = true;
    byId("rows").replaceChildren(...state.rows.map(row => {
      const line = make("tr"), batch = make("input"), role = make("select");
      batch.value = row.batch;
      batch.setAttribute("aria-label", `Batch of ${row.file}`);
      role.setAttribute("aria-label", `Role of ${row.file}`);
      for (const [value, text] of [["", "choose"], ["control", "control"], ["sample", "sample"]]) role.add(new Option(text, value));
      role.value = row.role;
      for (const child of [make("span", row.file), batch, role]) {
        const cell = make("td");
        cell.append(child);
        line.append(cell);
      }
      line.dataset.file = row.file;
      return line;
    }));
  }

  function renderLook() {
    const {tables, checked, problems, looking} = state, size = tables.size;
    show("step-look", Boolean(state.input));
    show("looking", Boolean(looking));
    byId("looking").textContent = looking;
    show("look", Boolean(size));
    if (!size) return;
    byId("size").textContent = `${format(size[0])} cells, ${format(size[1])} features.`;
    const rows = problems.map(({text}) => ({level: "Check", text}));
    if (!rows.length && checked.batches) rows.push({level: "Good", text: "Nothing looks wrong."});
    fill(byId("problems"), looking ? [] : listMessages(rows));
    const batches = checked.batches ? [make("h3", "Batches"), tabulate(checked.batches, {
      batch: "Batch", n_cells: "Cells", n_controls: "Cells of controls", n_samples: "Cells of samples"})] : [];
    fill(byId("batches"), batches);
    const list = (id, title, rows, names) => {
      show(id, Boolean(rows && rows.length));
      if (!rows || !rows.length) return;
      byId(id).querySelector("summary").textContent = title;
      fill(byId(id).querySelector(".box"), [tabulate(rows, names)]);
    };
    list("files", `${(tables.files || []).length} files`, tables.files, {file: "File", n_cells: "Cells"});
    const used = (tables.panel || []).filter(row => row.used !== false).length;
    list("features", `Panel: ${used} of ${(tables.panel || []).length} channels are used`, tables.panel,
         {feature: "Feature", channel: "Channel", marker: "Marker", class: "Class", used: "Used", cofactor: "Cofactor"});
  }

  function renderRun() {
    const run = state.run, isRunning = Boolean(run) && run.state === "running";
    show("step-design", Boolean(state.tables.size));
    show("step-run", Boolean(state.tables.size) || isRunning);
    byId("run").disabled = isRunning || Boolean(state.looking && !state.tables.size);
    byId("check").disabled = isRunning || Boolean(state.looking);
    show("stop", isRunning);
    byId("stop").disabled = isRunning && run.is_stopping;
    show("progress", isRunning);
    if (!isRunning) return;
    const last = run.steps[run.steps.length - 1];
    byId("step-name").classList.add("on");
    byId("step-name").textContent = run.is_stopping ? "Stopping." : last ? last.text : "Starting.";
    byId("bar").value = run.share;
    byId("time").textContent = `${Math.round(100 * run.share)}%, ${formatTime(run.seconds)}`;
    fill(byId("steps"), run.steps.slice(0, -1).map(step => make("li", `${step.text} ${formatTime(step.seconds)}`)));
  }

  function renderResult() {
    const run = state.run, hasEnded = Boolean(run) && run.state !== "running", isDone = hasEnded && run.state === "done";
    show("step-result", hasEnded);
    if (!hasEnded) return;
    const ended = {done: `Done in ${formatTime(run.seconds)}.`, stopped: "The run was stopped. Nothing was written.",
                   failed: `The run ended without a result: ${run.error} Nothing was lost.`};
    fill(byId("ended"), [make("p", ended[run.state])]);
    fill(byId("lines"), isDone ? listMessages(run.lines) : []);
    show("alarms", isDone && run.alarms.length > 0);
    show("written", isDone);
    show("report-frame", isDone && run.has_report);
    fill(byId("alarms").querySelector("ul"), isDone ? run.alarms.map(text => make("li", text)) : []);
    fill(byId("written").querySelector("ul"), isDone ? run.files.map(text => make("li", text)) : []);
    const table = isDone && run.batches.length ? [make("h3", "Batches"), tabulate(run.batches, {
      batch: "Batch", status: "Status", how: "How", n_controls: "Cells of controls", n_samples: "Cells of samples",
      expected: "Share expected to be closed", outside: "Share of cells outside of the control"})] : [];
    fill(byId("result-batches"), table);
    const key = isDone && run.has_report ? run.name : "";
    if (key !== shownReport) {
      shownReport = key;
      document.querySelectorAll("iframe").forEach(frame => frame.remove());
      if (key) {
        const frame = make("iframe");
        frame.title = "The report";
        frame.setAttribute("sandbox", "allow-scripts allow-downloads allow-popups allow-modals");
        frame.src = `report?run=${encodeURIComponent(key)}`;
        byId("report-frame").append(frame);
      }
    }
  }

  function render() {
    byId("root").textContent = state.root;
    const hasCells = Boolean(state.input) && !browsing;
    show("chosen", hasCells);
    show("browser", !hasCells);
    byId("chosen-name").textContent = state.input === "." ? state.root.split(/[/\\]/).pop() : state.input;
    byId("chosen-holds").textContent = state.holds;
    show("sheets", hasCells && state.is_fcs);
    renderFields();
    renderErrors();
    renderMaker();
    renderLook();
    renderRun();
    renderResult();
  }

  // fields and buttons

  const set = (field, value) => act("set", {field, value});
  SELECTS.forEach(name => byId(name).addEventListener("change", event => set(name, event.target.value)));
  FLAGS.forEach(name => byId(name).addEventListener("change", event => set(name, event.target.checked)));
  INPUTS.forEach(name => {
    byId(name).addEventListener("input", () => { typing = name; });
    byId(name).addEventListener("change", async event => {
      await set(name, event.target.value.trim());
      if (document.activeElement !== event.target) typing = "";
    });
    byId(name).addEventListener("blur", () => { typing = ""; });
  });
  document.querySelectorAll("[name=format]").forEach(radio => radio.addEventListener("change", () => {
    const stem = state.fields.output.replace(/\.h5ad$/, "");
    set("output", radio.value === "h5ad" ? `${stem}.h5ad` : stem);
  }));
  byId("choose-other").addEventListener("click", () => {
    browsing = true;
    render();
    openFolder(".");
  });
  byId("mark-controls").addEventListener("click", () => {
    const word = byId("control-word").value.trim().toLowerCase();
    if (!word) return;
    for (const line of byId("rows").rows) line.querySelector("select").value = line.dataset.file.toLowerCase().includes(word) ? "control" : "sample";
  });
  byId("write-sheet").addEventListener("click", () => act("sheet", {rows: [...byId("rows").rows].map(line => ({
    file: line.dataset.file, batch: line.querySelector("input").value, role: line.querySelector("select").value}))}));
  byId("check").addEventListener("click", () => act("check"));
  byId("run").addEventListener("click", () => act("run"));
  byId("stop").addEventListener("click", () => act("stop"));

  (async () => {
    await ask("api/state");
    if (state && !state.input) await openFolder(".");
    document.addEventListener("visibilitychange", () => { if (!document.hidden) ask("api/state"); });
    watch();
  })();
})();
