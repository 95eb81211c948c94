// Looks at the page as it is shown, and lists what is wrong with it. It is evaluated by TestReportInChromium.
(() => {
  const wrong = [];
  const width = innerWidth;
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue("--" + name).trim().toLowerCase();
  const marks = new Set(["ours", "peer", "line1", "line2", "line3", "line4", "line5", "line6", "line7"].map(colour));

  if (document.documentElement.scrollWidth > width) wrong.push(`the page scrolls sideways: ${document.documentElement.scrollWidth} of ${width} px`);

  const charts = [...document.querySelectorAll("[data-chart]")];
  for (const chart of charts) {
    const say = (text) => wrong.push(`chart ${chart.dataset.chart}: ${text}`);
    const svg = chart.querySelector("svg");
    if (!svg) { say("is not drawn"); continue; }
    const box = svg.getBoundingClientRect();
    if (box.width < 100 || box.height < 60) say(`is ${box.width} × ${box.height} px`);
    if (box.left < 0 || box.right > width + 0.5) say(`reaches from ${box.left} to ${box.right} of ${width} px`);
    const painted = [...svg.querySelectorAll("path,rect,circle,polyline")].filter((e) => {
      const size = e.getBoundingClientRect();
      return (marks.has((e.getAttribute("fill") || "").toLowerCase()) || marks.has((e.getAttribute("stroke") || "").toLowerCase())) && size.width + size.height > 0;
    });
    if (painted.length === 0) say("has no marks in the theme's colours");
    const labels = [...svg.querySelectorAll("text")];
    if (labels.length < 2) say("has no labels");
    const boxes = labels.map((l) => l.getBoundingClientRect());
    for (const [i, label] of labels.entries()) {
      const b = boxes[i];
      if (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1) say(`label "${label.textContent}" is cut off`);
      if (parseFloat(getComputedStyle(label).fontSize) < 12) say(`label "${label.textContent}" is smaller than 12 px`);
    }
    for (const [i, a] of labels.entries()) {
      const x = boxes[i];
      for (const [j, b] of labels.entries()) {
        if (j <= i) continue;
        const y = boxes[j];
        const across = Math.min(x.right, y.right) - Math.max(x.left, y.left), down = Math.min(x.bottom, y.bottom) - Math.max(x.top, y.top);
        if (across > 2 && down > 5) say(`labels "${a.textContent}" and "${b.textContent}" overlap`);
      }
    }
    const figure = chart.closest("figure");
    if (!figure.querySelector("details table tbody tr")) say("has no table");
    if (!chart.getAttribute("aria-label") || chart.getAttribute("role") !== "img") say("has no text alternative");
  }

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = texts.nextNode(); n; n = texts.nextNode()) {
    if (n.data.trim() && !/^(SCRIPT|STYLE)$/.test(n.parentElement.tagName) && parseFloat(getComputedStyle(n.parentElement).fontSize) < 12) {
      wrong.push(`"${n.data.trim().slice(0, 40)}" is smaller than 12 px`);
    }
  }

  const luminance = (hex) => {
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(colour(a)), luminance(colour(b))].sort((p, q) => p - q);
    return (high + 0.05) / (low + 0.05);
  };
  for (const below of ["surface", "raised"]) {
    for (const text of ["ink", "muted", "ours-ink", "bad", "good"]) {
      if (contrast(text, below) < 4.5) wrong.push(`contrast of ${text} on ${below} is ${contrast(text, below).toFixed(2)}`);
    }
    for (const mark of ["ours", "peer", "axis", "line1", "line2", "line3", "line4", "line5", "line6", "line7"]) {
      if (contrast(mark, below) < 3) wrong.push(`contrast of ${mark} on ${below} is ${contrast(mark, below).toFixed(2)}`);
    }
  }
  if (contrast("warn-ink", "warn") < 4.5) wrong.push("contrast of the warning");

  return {
    wrong,
    charts: charts.length,
    tables: document.querySelectorAll("table tbody tr").length,
    draws: charts.map((c) => Number(c.dataset.draws || 0)),
    background: getComputedStyle(document.body).backgroundColor,
    ink: [...new Set(charts.flatMap((c) => [...c.querySelectorAll("text")].map((t) => t.getAttribute("fill"))))].sort().join(),
  };
})()
