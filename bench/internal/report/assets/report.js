// Draws the charts that stand in the page's data. It knows kinds of charts (bars, dots, lines), not what they are about.
(() => {
  "use strict";

  const data = JSON.parse(document.getElementById("data").textContent);
  const specs = new Map(data.charts.map((c) => [c.id, c]));
  const drawn = new Map(); // id → ECharts instance
  const font = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif"; // ECharts writes it into attributes, so without quotes
  const symbols = ["circle", "rect", "triangle", "diamond", "roundRect"];
  const dense = 30; // a line of more points has no symbols

  // Colours are the style sheet's, so that light and dark are decided in one place.
  function colours() {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue("--" + name).trim();
    return {
      surface: get("raised"), page: get("surface"), ink: get("ink"), muted: get("muted"), line: get("line"), axis: get("axis"),
      ours: get("ours"), oursInk: get("ours-ink"), peer: get("peer"), bad: get("bad"),
      lines: [1, 2, 3, 4, 5, 6, 7].map((i) => get("line" + i)),
    };
  }

  const canvas = document.createElement("canvas").getContext("2d");
  function widthOf(text, size, weight) {
    canvas.font = `${weight || 400} ${size}px ${font}`;
    return canvas.measureText(text).width;
  }

  const plain = (s) => s.replace(/[{}|]/g, " "); // braces and bars mean something in ECharts' labels

  // short writes a number for an axis: 1.5k, 20M.
  function short(v) {
    const a = Math.abs(v);
    for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (a >= size) return +(v / size).toPrecision(3) + unit;
    }
    return String(+v.toPrecision(3));
  }

  function tick(v, unit) {
    if (v === 0) return "0";
    const nanos = { ns: 1, "µs": 1e3, us: 1e3, ms: 1e6 }[unit.split("/")[0]];
    if (nanos) {
      const ns = v * nanos;
      for (const [size, name] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) {
        if (ns >= size) return +(ns / size).toPrecision(3) + " " + name;
      }
      return +ns.toPrecision(3) + " ns";
    }
    if (unit.startsWith("bytes") || unit === "B") {
      for (const [size, name] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
        if (v >= 10240 && v >= size) return +(v / size).toPrecision(3) + " " + name;
      }
      return v.toLocaleString("en-US") + " B";
    }
    if (unit === "%") return +v.toPrecision(4) + " %";
    if (unit === "×") return short(v) + " ×";
    if (unit === "/s") return short(v) + "/s";
    return short(v);
  }

  // scale chooses ends and ticks of an axis of numbers. ECharts puts ticks of a logarithmic one at powers of ten alone, of which there may be none.
  function scale(values, spec, most, roomy) {
    if (!spec.log) return {};
    let low = Math.min(...values), high = Math.max(...values);
    if (!(low > 0) || !isFinite(high)) return {};
    if (roomy) { low /= 1.15; high *= 1.15; }
    if (high / low < 1.5) { low /= 1.3; high *= 1.3; }
    for (const steps of [[1, 2, 5], [1, 3], [1]]) {
      const ticks = [];
      for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
        for (const s of steps) {
          const t = s * 10 ** e;
          if (t >= low * 0.9999 && t <= high * 1.0001) ticks.push(+t.toPrecision(6));
        }
      }
      if (ticks.length <= most || steps.length === 1) {
        const every = Math.ceil(ticks.length / most);
        return { min: low, max: high, ticks: ticks.filter((_, i) => (ticks.length - 1 - i) % every === 0) };
      }
    }
    return {};
  }

  // apart leaves out ticks whose labels would touch.
  function apart(ticks, s, width) {
    const at = (v) => (Math.log(v / s.min) / Math.log(s.max / s.min)) * width;
    const out = [];
    for (const t of [...ticks].reverse()) {
      if (!out.length || at(out[0]) - at(t) > 16 + widthOf(short(t), 12)) out.unshift(t);
    }
    return out;
  }

  function numbers(spec, s, c, extra) {
    const a = Object.assign({
      type: spec.log ? "log" : "value",
      axisLabel: { color: c.muted, fontSize: 12, fontFamily: font, hideOverlap: true, formatter: (v) => tick(v, spec.unit || "") },
      axisLine: { show: false }, axisTick: { show: false }, minorTick: { show: false },
      splitLine: { lineStyle: { color: c.line, width: 1 } },
    }, extra);
    if (s.ticks) {
      a.min = s.min; a.max = s.max;
      a.axisTick = { show: false, customValues: s.ticks };
      a.axisLabel = Object.assign({}, a.axisLabel, { customValues: s.ticks });
    }
    return a;
  }

  function tooltip(c, content) {
    return {
      confine: true, backgroundColor: c.page, borderColor: c.axis, borderWidth: 1, padding: [6, 10], transitionDuration: 0,
      formatter(params) {
        const box = document.createElement("div");
        box.className = "tip";
        for (const [i, text] of content([].concat(params)).entries()) {
          const e = document.createElement(i ? "div" : "b");
          e.textContent = text; // never as HTML: names come from files
          box.append(e);
        }
        return box;
      },
      textStyle: { color: c.ink, fontSize: 13, fontFamily: font },
    };
  }

  function marks(spec, c, upright) {
    if (!spec.marks || !spec.marks.length) return undefined;
    return {
      silent: true, symbol: "none", animation: false,
      lineStyle: { color: upright && spec.x.unit === "×" ? c.axis : c.bad, width: 1.5, type: upright && spec.x.unit === "×" ? "solid" : [6, 4] },
      label: {
        show: !(upright && spec.x.unit === "×"), color: c.bad, fontSize: 12, fontFamily: font, formatter: (p) => plain(p.name),
        position: upright ? "start" : "insideEndTop", align: upright ? "right" : undefined,
      },
      data: spec.marks.map((m) => ({ name: m.name, [upright ? "xAxis" : "yAxis"]: m.value })),
    };
  }

  function base(c) {
    return { animation: false, textStyle: { fontFamily: font, color: c.ink }, backgroundColor: "transparent" };
  }

  // fit shortens a text to a width.
  function fit(text, width, size, weight) {
    if (widthOf(text, size, weight) <= width) return text;
    let n = text.length;
    while (n > 1 && widthOf(text.slice(0, n) + "…", size, weight) > width) n--;
    return text.slice(0, n).trimEnd() + "…";
  }

  // wrap breaks a text in lines of a width, after blanks, slashes and dashes, two at most.
  function wrap(text, width, size, weight) {
    if (widthOf(text, size, weight) <= width) return [text];
    const parts = text.split(/(?<=[ /+-])/);
    let first = "";
    while (parts.length > 1 && widthOf(first + parts[0], size, weight) <= width) first += parts.shift();
    if (!first) return [fit(text, width, size, weight)];
    return [first.trimEnd(), fit(parts.join(""), width, size, weight)];
  }

  // rows lays out what bars and dots share: names to the left and values to the right of wide charts, both above the bars of narrow ones.
  function rows(spec, width, c, top) {
    const size = 13, narrow = width < 480, xs = spec.categories;
    const notes = xs.map((x) => fit(plain(x.note || ""), width * 0.45, size, 600));
    const also = xs.map((x) => fit(plain(x.also || ""), width * 0.25, 12));
    const second = Math.max(...also.map((a) => (a ? widthOf(a, 12) + 14 : 0))); // a column of its own, so that both align
    const right = Math.max(...notes.map((n) => widthOf(n, size, 700))) + second + 14;
    const widest = Math.max(...xs.map((x) => Math.max(widthOf(plain(x.name), size, 700), x.sub ? widthOf(plain(x.sub), 12) : 0)));
    const left = narrow ? 16 : Math.min(widest + 16, width * 0.3);
    const style = (x) => (x.ours ? "ours" : "name");
    const names = xs.map((x) => {
      if (narrow) {
        const name = fit(plain(x.name), width - 32 - right, size, 700);
        const rest = width - 40 - right - widthOf(name, size, 700);
        const sub = x.sub && widthOf(plain(x.sub), 12) < rest ? `{sub|  ${plain(x.sub)}}` : "";
        return { text: `{${style(x)}|${name}}${sub}`, lines: 1 };
      }
      const lines = wrap(plain(x.name), left - 16, size, 700).map((l) => `{${style(x)}|${l}}`);
      if (x.sub) lines.push(`{sub|${fit(plain(x.sub), left - 14, 12)}}`);
      return { text: lines.join("\n"), lines: lines.length };
    });
    const rowHeight = narrow ? 46 : Math.max(26, Math.max(...names.map((n) => n.lines)) * 17 + 6);
    const rich = { ours: { color: c.oursInk, fontWeight: 700, fontSize: size, lineHeight: 16 }, sub: { color: c.muted, fontSize: 12, lineHeight: 16 }, name: { color: c.ink, fontSize: size, lineHeight: 16 }, also: { color: c.muted, fontSize: 12, lineHeight: 16, width: second, align: "right" } };
    const axis = (position, text) => ({
      type: "category", data: xs.map((_, i) => String(i)), inverse: true, position, axisLine: { show: false }, axisTick: { show: false }, splitLine: { show: false },
      axisLabel: {
        interval: 0, inside: narrow, color: c.ink, fontSize: size, fontFamily: font, lineHeight: 16, rich, padding: narrow ? [0, 0, 34, 0] : 0,
        align: position === "left" && narrow ? "left" : "right", margin: narrow ? 0 : position === "left" ? 8 : right - 2, formatter: (_, i) => text(i),
      },
    });
    return {
      height: xs.length * rowHeight + 56 + top,
      barWidth: narrow ? 14 : "62%",
      plot: width - left - (narrow ? 16 : right),
      option: {
        grid: { left, right: narrow ? 16 : right, top: top + 4, bottom: 52, containLabel: false, outerBoundsMode: "none" },
        yAxis: [axis("left", (i) => names[i].text), axis("right", (i) => `{${style(xs[i])}|${notes[i]}}` + (second ? `{also|${also[i]}}` : ""))],
      },
    };
  }

  function valueAxis(spec, values, width, c) {
    const s = scale(values, spec.x, Math.max(3, Math.floor(width / 64)), true);
    const a = numbers(spec.x, s, c, {
      name: spec.x.name || "", nameLocation: "middle", nameGap: 28, nameTextStyle: { color: c.muted, fontSize: 12, fontFamily: font },
    });
    if (spec.x.log) a.startValue = spec.x.from || s.min;
    if (!spec.x.log) { a.min = 0; a.splitNumber = Math.max(2, Math.floor(width / 90)); }
    return a;
  }

  function bars(spec, width, c) {
    const layout = rows(spec, width, c, 0);
    const points = spec.series[0].points;
    const shown = points.filter((p) => !spec.x.log || p.x > 0);
    const values = shown.flatMap((p) => [p.x, p.low, p.high]).filter((v) => v > 0 || (v === 0 && !spec.x.log));
    if (spec.x.from) values.push(spec.x.from);
    const whiskers = [];
    for (const p of shown) {
      if (p.low == null || (spec.x.log && p.low <= 0)) continue;
      whiskers.push([p.low, p.y], [p.high, p.y], ["-", "-"]);
    }
    const text = new Map(points.map((p) => [p.y, p.text]));
    return {
      height: layout.height,
      option: Object.assign(base(c), layout.option, {
        xAxis: valueAxis(spec, values.length ? values : [1], layout.plot, c),
        tooltip: Object.assign(tooltip(c, ([p]) => [spec.categories[p.dataIndex].name, text.get(p.dataIndex) || ""]), { trigger: "item" }),
        series: [
          {
            type: "bar", barWidth: layout.barWidth, barMinHeight: 2, markLine: marks(spec, c, true),
            data: spec.categories.map((x, i) => {
              const p = shown.find((q) => q.y === i);
              return { value: p ? p.x : "-", itemStyle: { color: x.ours ? c.ours : c.peer, borderRadius: 2 } };
            }),
          },
          // The hidden axis at the right shows values as text; it needs a series to be shown.
          { type: "bar", yAxisIndex: 1, data: spec.categories.map(() => "-"), silent: true },
          { type: "line", data: whiskers, symbol: "rect", symbolSize: [1.5, 8], silent: true, lineStyle: { color: c.ink, width: 1.5 }, itemStyle: { color: c.ink }, connectNulls: false, z: 5 },
        ],
      }),
    };
  }

  function dots(spec, width, c) {
    const names = spec.series.filter((s) => s.points.length).map((s) => s.name);
    const legend = legendOf(names, width, c, 12);
    const layout = rows(spec, width, c, legend.height + 16);
    const values = spec.series.flatMap((s) => s.points.map((p) => p.x)).concat((spec.marks || []).map((m) => m.value));
    const spans = spec.categories.flatMap((_, i) => {
      const xs = spec.series.flatMap((s) => s.points.filter((p) => p.y === i).map((p) => p.x));
      return xs.length > 1 ? [[Math.min(...xs), i], [Math.max(...xs), i], ["-", "-"]] : [];
    });
    const shape = ["circle", "diamond", "rect"];
    const paint = (s, i) => (s.ours ? c.ours : [c.lines[0], c.lines[1]][i % 2]);
    return {
      height: layout.height,
      option: Object.assign(base(c), layout.option, {
        legend: legend.option,
        xAxis: valueAxis(spec, values, layout.plot, c),
        tooltip: Object.assign(tooltip(c, ([p]) => [spec.categories[p.data.value[1]].name, `${p.seriesName} ${p.data.text}`]), { trigger: "item" }),
        series: [
          { type: "line", data: spans, symbol: "none", silent: true, lineStyle: { color: c.axis, width: 2 }, z: 1, markLine: marks(spec, c, true) },
          { type: "bar", yAxisIndex: 1, data: spec.categories.map(() => "-"), silent: true },
          ...spec.series.map((s, i) => ({
            type: "scatter", name: s.name, symbol: shape[i % 3], symbolSize: 11, itemStyle: { color: paint(s, i), opacity: 1 }, z: 4,
            data: s.points.map((p) => ({ value: [p.x, p.y], text: p.text })),
          })),
        ],
      }),
    };
  }

  // legendOf reckons how many rows a legend takes, since ECharts does not make room for it.
  function legendOf(names, width, c, symbol = 25) {
    let lines = 1, x = 0;
    for (const n of names) {
      const w = Math.min(widthOf(plain(n), 13), width - 50) + symbol + 5 + 14;
      if (x > 0 && x + w > width - 10) { lines++; x = 0; }
      x += w;
    }
    return {
      height: lines * 24 + 4,
      option: {
        top: 0, left: 0, right: 0, itemGap: 12, itemWidth: symbol, itemHeight: 10, padding: 0, data: names, formatter: (n) => fit(plain(n), width - 50, 13),
        textStyle: { color: c.ink, fontSize: 13, fontFamily: font, lineHeight: 16 }, inactiveColor: c.axis,
      },
    };
  }

  function lines(spec, width, c) {
    const names = spec.series.map((s) => s.name);
    const legend = legendOf(names, width, c);
    const dashes = ["solid", "dashed", "dotted"];
    const points = spec.series.flatMap((s) => s.points);
    const ys = points.map((p) => p.y).concat((spec.marks || []).map((m) => m.value));
    const yScale = scale(ys, spec.y, 7, true);
    const byName = spec.categories && spec.categories.length > 0;
    const height = Math.round(Math.min(Math.max(width * 0.55, 250), 340)) + legend.height;
    let xAxis;
    if (byName) {
      xAxis = {
        type: "category", data: spec.categories.map((x) => plain(x.name)), boundaryGap: false, name: (spec.x && spec.x.name) || "", axisTick: { show: false },
        axisLine: { lineStyle: { color: c.axis } }, axisLabel: { color: c.muted, fontSize: 12, fontFamily: font, hideOverlap: true }, splitLine: { show: false },
      };
    } else {
      const xs = [...new Set(points.map((p) => p.x))].sort((p, q) => p - q);
      const s = scale(xs, spec.x, Math.max(3, Math.floor(width / 72)), false);
      const steps = [...new Set(spec.series.filter((l) => l.points.length <= dense).flatMap((l) => l.points.map((p) => p.x)))].sort((p, q) => p - q);
      if (s.ticks && steps.length && steps.length <= 12) s.ticks = apart(steps, s, width - 80); // what was measured, not what is round
      xAxis = numbers(spec.x, s, c, { splitLine: { show: false }, axisLine: { show: true, lineStyle: { color: c.axis } } });
      xAxis.name = spec.x.name || "";
    }
    Object.assign(xAxis, { nameLocation: "middle", nameGap: 28, nameTextStyle: { color: c.muted, fontSize: 12, fontFamily: font } });
    const yAxis = numbers(spec.y, yScale, c, {
      name: spec.y.name || "", nameLocation: "end", nameGap: 14, nameTextStyle: { color: c.muted, fontSize: 12, fontFamily: font, align: "left", padding: [0, 0, 0, 0] },
    });
    if (!spec.y.log) {
      const low = Math.min(...ys), high = Math.max(...ys);
      if (spec.y.unit === "%" && high - low > 0 && low > 0 && high <= 100) { yAxis.scale = true; if (high > 90) yAxis.max = 100; } else yAxis.min = 0;
      yAxis.splitNumber = 5;
    }
    const top = Math.max(...ys) || 1; // ECharts chooses a linear axis's ticks; these are as wide
    const labels = (yScale.ticks || [0.2, 0.25, 0.6, 0.75, 1, 1.2].map((v) => +(v * top).toPrecision(2))).map((v) => widthOf(tick(v, spec.y.unit || ""), 12));
    const left = Math.min(Math.max(44, Math.max(...labels) + 16), width * 0.3);
    const last = byName ? plain(spec.categories[spec.categories.length - 1].name) : short(Math.max(...points.map((p) => p.x)));
    yAxis.nameTextStyle.padding = [0, 0, 0, 8 - left];
    let peers = 0, ours = 0, oursSeen = 0;
    return {
      height,
      option: Object.assign(base(c), {
        grid: { left, right: Math.max(18, widthOf(last, 12) / 2 + 6), top: legend.height + 34, bottom: (xAxis.name ? 48 : 30), outerBoundsMode: "none" },
        legend: legend.option, xAxis, yAxis,
        tooltip: Object.assign(tooltip(c, (ps) => {
          const at = byName ? spec.categories[ps[0].dataIndex] && spec.categories[ps[0].data.value[0]].name : short(ps[0].data.value[0]) + " " + (spec.x.name || "");
          return [at, ...ps.map((p) => `${p.seriesName}: ${p.data.text}`)];
        }), { trigger: "axis", axisPointer: { type: "line", lineStyle: { color: c.axis } } }),
        series: spec.series.map((s, i) => {
          const bound = s.style === "dashed" && !s.ours; // none of those compared, so in none of their colours
          const colour = s.ours ? c.ours : bound ? c.muted : c.lines[peers++ % c.lines.length];
          const style = s.style === "dashed" ? "dashed" : s.ours ? dashes[oursSeen++ % 3] : s.points.length > dense ? "dotted" : "solid";
          return {
            type: "line", name: s.name, symbol: s.points.length > dense ? "none" : s.ours ? symbols[ours++ % 2] : symbols[(peers + 1) % 5], symbolSize: s.style === "dots" ? 10 : 7, showAllSymbol: true,
            lineStyle: { color: colour, width: s.style === "dots" ? 0 : s.ours ? 3 : 2, type: style }, itemStyle: { color: colour }, z: s.ours ? 4 : 2,
            emphasis: { disabled: true }, markLine: i === 0 ? marks(spec, c, false) : undefined,
            data: s.points.map((p) => ({
              value: [p.x, p.y], text: p.text, itemStyle: p.hollow ? { color: c.surface, borderColor: colour, borderWidth: 1.5 } : undefined,
            })),
          };
        }),
      }),
    };
  }

  const kinds = { bars, dots, lines };

  function draw(element) {
    const spec = specs.get(element.dataset.chart);
    const width = Math.floor(element.clientWidth);
    if (!spec || width < 50) return; // hidden: drawn when it is shown
    const { height, option } = kinds[spec.kind](spec, width, colours());
    element.style.height = height + "px";
    let chart = drawn.get(spec.id);
    if (!chart) {
      chart = echarts.init(element, null, { renderer: "svg", width, height });
      drawn.set(spec.id, chart);
    } else {
      chart.resize({ width, height });
    }
    chart.setOption(option, true);
    element.dataset.width = width;
    element.dataset.draws = 1 + Number(element.dataset.draws || 0);
  }

  const elements = [...document.querySelectorAll("[data-chart]")];
  const redraw = () => elements.forEach(draw);

  // svg draws a chart for a file: with its title, on a background of its own.
  function svg(id, width) {
    const spec = specs.get(id), c = colours(), pad = 16;
    c.surface = c.page;
    const { height, option } = kinds[spec.kind](spec, width - 2 * pad, c);
    const head = spec.sub ? 48 : 30;
    for (const g of [].concat(option.grid)) { g.left += pad; g.right += pad; g.top += head + pad; g.bottom += pad / 2; }
    if (option.legend) Object.assign(option.legend, { top: head + pad, left: pad, right: pad });
    option.backgroundColor = c.page;
    if (spec.kind === "bars" && spec.series[0].points.some((p) => p.low != null)) option.xAxis.name += "   ·   bars: medians of the rounds, whiskers: least and greatest";
    option.title = {
      text: plain(spec.title), subtext: plain(spec.sub || ""), left: pad - 5, top: 8,
      textStyle: { color: c.ink, fontSize: 20, fontWeight: 700, fontFamily: font }, subtextStyle: { color: c.muted, fontSize: 13, fontFamily: font },
    };
    const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width, height: height + head + 2 * pad });
    chart.setOption(option);
    const text = chart.renderToSVGString();
    chart.dispose();
    return text.replace("<rect ", '<rect rx="10" '); // the first one is the background: a card where the page has another colour
  }

  redraw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing");
    document.querySelectorAll("details.more").forEach((d) => { d.open = true; });
    redraw();
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    redraw();
  });
  document.querySelectorAll("details.more").forEach((d) => d.addEventListener("toggle", () => {
    if (d.open) d.querySelectorAll("[data-chart]").forEach(draw);
  }));
  const sizes = new ResizeObserver((changes) => {
    for (const { target } of changes) {
      if (Math.floor(target.clientWidth) !== Number(target.dataset.width)) draw(target);
    }
  });
  elements.forEach((e) => sizes.observe(e));

  window.doppioReport = { svg, ids: [...specs.keys()] };
  document.documentElement.dataset.ready = "true";
})();
