(() => {
  "use strict";
  const MISSING = 65535;
  const COLORS = 8;
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const unpack = text => {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer), numbers = new Uint16Array(bytes.length / 2);
    for (let i = 0; i < numbers.length; i++) numbers[i] = view.getUint16(2 * i, true);
    return numbers;
  };
  const cells = read("cells"), plots = read("plots");
  const n = cells.n, unit = cells.unit ? ` (${cells.unit})` : "";
  const values = {};
  for (const state of cells.states) values[state] = unpack(cells.values[state]);
  for (const column of cells.columns) column.codes = unpack(column.codes);
  const byId = id => document.getElementById(id);

  // menus
  const fill = (select, names, chosen) => {
    names.forEach((name, i) => select.add(new Option(name, i, false, name === chosen)));
    select.addEventListener("change", draw);
  };
  const filters = [...document.querySelectorAll("select[data-column]")];
  const right = byId("state");
  const rightState = () => cells.states.length < 2 ? null : right ? cells.states[Number(right.value) + 1] : cells.states[1];

  // colours of the page: the light ones are the document's, the dark ones the body's
  const css = (name, of = document.body) => getComputedStyle(of).getPropertyValue(name).trim();
  const colorsOf = column => {
    const k = column.names.length;
    if (k <= COLORS) return column.names.map((_, i) => css(`--c${i}`));
    const light = matchMedia("(prefers-color-scheme: dark)").matches ? 68 : 46;
    return column.names.map((_, i) => `hsl(${Math.round(360 * i / k)} 70% ${i % 2 ? light : light - 12}%)`);
  };

  let models = null;
  function draw() {
    if (!models) return;
    const x = Number(byId("x").value), y = Number(byId("y").value);
    const column = cells.columns[Number(byId("color").value)], colors = colorsOf(column);
    const isWanted = i => filters.every(menu => menu.value === "all" || cells.columns[menu.dataset.column].codes[i] === Number(menu.value));
    const counts = new Array(column.names.length).fill(0);
    const drawn = [];
    [cells.states[0], rightState()].forEach((state, side) => {
      const model = models[side];
      if (!model || state === null) return;
      const packed = values[state], data = {x: [], y: [], color: []};
      for (let i = 0; i < n; i++) {
        const a = packed[x * n + i], b = packed[y * n + i];
        if (a === MISSING || !isWanted(i)) continue;
        data.x.push(cells.low[x] + a * cells.step[x]);
        data.y.push(cells.low[y] + b * cells.step[y]);
        data.color.push(colors[column.codes[i]]);
        counts[column.codes[i]] += side === 0 || cells.columns.length && values[cells.states[0]][x * n + i] === MISSING ? 1 : 0;
      }
      drawn.push(`${data.x.length.toLocaleString("en")} cells ${state}`);
      model.source.data = data;
      model.plot.below[0].axis_label = cells.features[x] + unit;
      model.plot.left[0].axis_label = cells.features[y] + unit;
      byId(`title-${model.side}`).textContent = state[0].toUpperCase() + state.slice(1);
      byId(`plot-${model.side}`).setAttribute("aria-label",
        `Biaxial plot, ${state}: ${cells.features[x]} on the x axis, ${cells.features[y]} on the y axis, ${data.x.length} cells coloured by ${column.title}`);
    });
    setRanges(x, y);
    byId("legend").replaceChildren(...column.names.flatMap((name, i) => {
      if (!counts[i]) return [];
      const item = document.createElement("li"), dot = document.createElement("i");
      dot.style.background = colors[i];
      item.append(dot, `${name} (${counts[i].toLocaleString("en")})`);
      return [item];
    }));
    byId("shown").textContent = `Drawn: ${drawn.join(", ")}.`;
  }

  let shown = "";
  function setRanges(x, y) {
    if (shown === `${x} ${y}`) return;  // the part that the reader has enlarged stays
    shown = `${x} ${y}`;
    const [xRange, yRange] = [models[0].plot.x_range, models[0].plot.y_range];
    for (const [range, j] of [[xRange, x], [yRange, y]]) {
      const low = cells.low[j], high = low + 65534 * cells.step[j], margin = 0.03 * (high - low);
      range.setv({start: low - margin, end: high + margin, reset_start: low - margin, reset_end: high + margin});
    }
  }

  function paint(of = document.body) {
    const [ink, soft, line] = ["--ink", "--soft", "--line"].map(name => css(name, of));
    const ground = css("--ground", of);
    for (const {plot} of models) {
      if ("border_line_color" in plot) plot.border_line_color = null;
      plot.setv({outline_line_color: line, border_fill_color: ground, background_fill_color: ground});
      for (const axis of [...plot.below, ...plot.left]) {
        axis.setv({axis_label_text_color: ink, major_label_text_color: soft, axis_line_color: soft, major_tick_line_color: soft,
          minor_tick_line_color: null, axis_label_text_font: "system-ui", major_label_text_font: "system-ui",
          axis_label_text_font_style: "normal", axis_label_text_font_size: "14px", major_label_text_font_size: "12px"});
      }
      for (const grid of plot.center) grid.setv({grid_line_color: line, grid_line_alpha: 0.5});
    }
  }

  // on paper a picture takes the place of each plot, which keeps the size that it has on the screen
  function copyForPrint() {
    for (const {side, plot} of models) {
      const view = Bokeh.index.get_by_id(plot.id), image = byId(`printed-${side}`);
      view.paint?.();  // at once, in the colours of paper
      image.src = view.export("png", true).canvas.toDataURL();
      image.alt = byId(`plot-${side}`).getAttribute("aria-label");
    }
  }

  Bokeh.logger?.set_level?.("warn");
  Bokeh.embed.embed_items(plots.documents, plots.items);
  const started = Date.now();
  const wait = () => {
    const document_ = Bokeh.documents[0];
    if (!document_ || !document_.get_model_by_name("plot-left")) {
      if (Date.now() - started < 20000) setTimeout(wait, 30);
      return;
    }
    models = ["left", "right"].map(side => ({side, plot: document_.get_model_by_name(`plot-${side}`), source: document_.get_model_by_name(`cells-${side}`)}))
      .filter(model => model.plot);
    fill(byId("x"), cells.features, cells.features[cells.features.indexOf(cells.first[0])]);
    fill(byId("y"), cells.features, cells.features[cells.features.indexOf(cells.first[1])]);
    fill(byId("color"), cells.columns.map(column => column.title), cells.columns[0].title);
    if (right) fill(right, cells.states.slice(1), cells.states[1]);
    for (const menu of filters) {
      menu.add(new Option("all", "all"));
      fill(menu, cells.columns[menu.dataset.column].names, null);
      menu.value = "all";
    }
    paint();
    draw();
    document.documentElement.dataset.ready = "yes";
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { paint(); draw(); });
    addEventListener("beforeprint", () => { paint(document.documentElement); copyForPrint(); });
    addEventListener("afterprint", () => paint());
  };
  wait();
})();
