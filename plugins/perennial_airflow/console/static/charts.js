// Draws the page's pictures, in the page's colours: again when those change, when the window does, and when the page was asked for again.
"use strict";
(() => {
  const drawn = new Map(); // by id: the picture, and what it was told

  const coloured = (part) => {
    if (typeof part === "string") {
      const style = getComputedStyle(document.documentElement);
      return part.replace(/var\((--[a-z-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
    }
    if (Array.isArray(part)) return part.map(coloured);
    if (part && typeof part === "object") return Object.fromEntries(Object.entries(part).map(([key, value]) => [key, coloured(value)]));
    return part;
  };

  // What the cells of a heat map are, where they lead, and what is said of them.
  const cells = (place) => {
    const { x, y, path, unit } = JSON.parse(place.dataset.cells);
    return {
      width: x.length,
      height: y.length,
      link: ([column, row]) => `${path}${encodeURIComponent(x[column])}?column=${encodeURIComponent(y[row])}`,
      words: ([column, row, value]) => `${y[row].slice(0, 80)}\n${x[column].replace("_", " to ")}: ${value} ${unit}`,
    };
  };

  // Arrow keys go from cell to cell of a heat map, Enter opens the one that is shown.
  const walk = (place, picture, event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const { width, height, link } = cells(place);
    const at = place.at ?? [width, 0];
    if (event.key === "Enter" && place.at) window.location.assign(link(at));
    if (!steps[event.key]) return;
    event.preventDefault();
    const [right, down] = steps[event.key];
    place.at = [Math.min(Math.max(at[0] + right, 0), width - 1), Math.min(Math.max(at[1] + down, 0), height - 1)];
    picture.getOption().series.forEach((series, seriesIndex) => {
      if (series.type !== "heatmap") return;
      const dataIndex = series.data.findIndex(([column, row]) => column === place.at[0] && row === place.at[1]);
      picture.dispatchAction({ type: "downplay", seriesIndex });
      if (dataIndex < 0) return;
      picture.dispatchAction({ type: "highlight", seriesIndex, dataIndex });
      picture.dispatchAction({ type: "showTip", seriesIndex, dataIndex });
    });
  };

  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const draw = (place) => {
    const option = coloured(JSON.parse(place.dataset.chart));
    const ink = coloured("var(--ink)");
    const paper = coloured("var(--paper)");
    const quiet = coloured("var(--quiet)");
    let picture = window.echarts.getInstanceByDom(place);
    if (place.dataset.height) place.style.height = `${place.dataset.height}px`;
    if (!picture) {
      picture = window.echarts.init(place, null, { renderer: "svg" });
      picture.on("click", (event) => {
        if (event.data?.link) window.location.assign(event.data.link);
        else if (event.seriesType === "heatmap") window.location.assign(cells(place).link(event.value));
      });
      if (place.dataset.cells) place.addEventListener("keydown", (event) => walk(place, picture, event));
    } else picture.resize();
    if (place.dataset.cells) {
      const formatter = (at) => cells(place).words(at.value);
      for (const series of option.series) if (series.type === "heatmap") series.tooltip = { formatter };
    }
    const axis = (one) => ({
      ...one,
      nameTextStyle: { color: quiet, ...one.nameTextStyle },
      axisLabel: { color: quiet, hideOverlap: true, ...one.axisLabel },
      axisLine: { lineStyle: { color: quiet }, ...one.axisLine },
      splitLine: { lineStyle: { color: coloured("var(--line)") }, ...one.splitLine },
    });
    const axes = (given) => (Array.isArray(given) ? given.map(axis) : given && axis(given));
    picture.setOption(
      {
        animation: !calm,
        animationDuration: 300,
        backgroundColor: "transparent",
        textStyle: { color: ink, fontFamily: getComputedStyle(document.body).fontFamily }, // by its name, else texts are measured wrongly
        ...option,
        xAxis: axes(option.xAxis),
        yAxis: axes(option.yAxis),
        legend: option.legend && { top: 0, right: 0, textStyle: { color: ink }, ...option.legend },
        tooltip: {
          renderMode: "richText", // no text of a person becomes markup
          confine: true,
          backgroundColor: paper,
          borderColor: quiet,
          textStyle: { color: ink },
          ...option.tooltip,
        },
        aria: { enabled: true, label: { description: place.closest("figure").querySelector("figcaption").textContent } },
      },
      { replaceMerge: ["series", "xAxis", "yAxis", "grid", "visualMap"] }, // a series that has its id still moves to where it is now
    );
    drawn.set(place.id, { picture, place });
  };

  const all = () => {
    if (!window.echarts) return; // the tables behind the pictures say the same
    for (const place of document.querySelectorAll("[data-chart]")) draw(place);
  };

  // Called with a page that was asked for again, before it takes the place of the one that is shown: pictures go on where they are.
  window.keepCharts = (fresh) => {
    for (const place of fresh.querySelectorAll("[data-chart]")) {
      const old = drawn.get(place.id);
      if (!old) continue;
      for (const name of ["chart", "height", "cells"]) if (place.dataset[name]) old.place.dataset[name] = place.dataset[name];
      place.replaceWith(old.place);
    }
  };
  window.drawCharts = all;

  all();
  new MutationObserver(all).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
  window.addEventListener("resize", () => {
    for (const { picture, place } of drawn.values()) if (place.isConnected) picture.resize();
  });
  window.addEventListener("beforeprint", all);
})();
