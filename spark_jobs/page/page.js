// Draws the charts with the colors of the page, again whenever those change. Nothing here is made from data.
(() => {
  "use strict";
  const charts = JSON.parse(document.getElementById("data").textContent);

  const rowsOf = ({ columns, words }) => {
    const names = Object.keys(columns);
    const count = names.length ? columns[names[0]].length : 0;
    return Array.from({ length: count }, (_, row) =>
      Object.fromEntries(
        names.map((name) => {
          const value = columns[name][row];
          return [name, name in words ? words[name][value] : value];
        }),
      ),
    );
  };

  const theme = () => {
    const css = getComputedStyle(document.documentElement);
    const color = (name) => css.getPropertyValue(`--${name}`).trim();
    const font = getComputedStyle(document.body).fontFamily;
    return {
      background: null,
      font,
      view: { stroke: null },
      range: { category: [1, 2, 3, 4, 5, 6, 7, 8].map((place) => color(`c${place}`)) },
      mark: { color: color("c1") },
      rule: { color: color("ink") },
      axis: {
        labelColor: color("soft"), titleColor: color("soft"), gridColor: color("line"), domainColor: color("line"),
        tickColor: color("line"), labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", titlePadding: 8,
        labelPadding: 5, ticks: false,
      },
      axisY: { domain: false },
    };
  };

  const draw = async ({ name, spec, ...data }, config) => {
    const place = document.querySelector(`[data-chart="${CSS.escape(name)}"]`);
    if (place.view) place.view.finalize();
    const rows = rowsOf(data);
    const result = await vegaEmbed(place, { ...spec, config, datasets: { ...spec.datasets, rows } }, {
      actions: false,
      // Expressions are interpreted, so that the page's policy need not allow code made from text.
      ast: true,
      renderer: rows.length > 1000 ? "canvas" : "svg",
      tooltip: { disableDefaultStyle: true },
      defaultStyle: false,
    });
    place.view = result;
  };

  const drawAll = async () => {
    const config = theme();
    for (const chart of charts) await draw(chart, config);
    document.documentElement.dataset.drawn = String(charts.length);
  };

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  drawAll();
})();
