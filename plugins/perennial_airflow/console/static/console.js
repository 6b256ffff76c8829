// The page follows Airflow's choice of light or dark, writes times in the zone of whoever looks, and asks again while it is looked at.
"use strict";
(() => {
  const SECONDS = 4;
  const RUN = new URL("../run.json", document.currentScript.src);
  const root = document.documentElement;
  const airflow = window.parent === window ? null : window.parent.document.documentElement;

  const theme = () => {
    const chosen = airflow?.classList;
    root.classList.toggle("dark", Boolean(chosen?.contains("dark")));
    root.classList.toggle("light", Boolean(chosen?.contains("light")));
  };
  if (airflow) {
    theme();
    new window.parent.MutationObserver(theme).observe(airflow, { attributes: true, attributeFilter: ["class"] });
  }

  const times = () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const when = new Date(time.getAttribute("datetime"));
      time.textContent = when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    }
  };
  // What is wider than its place can be scrolled with keys, too.
  const scrolls = () => {
    for (const part of document.querySelectorAll(".scroll")) {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
      else part.removeAttribute("tabindex");
    }
  };
  document.addEventListener("toggle", scrolls, true);
  window.addEventListener("resize", scrolls);
  times();
  scrolls();

  // What Airflow does next with a DAG, asked by its own API as whoever looks.
  const PLANS = 20; // seconds
  const plans = new Map();
  const clock = (when) => {
    const time = document.createElement("time");
    time.dateTime = when;
    time.title = `${new Date(when).toISOString().slice(0, 19).replace("T", " ")} UTC`;
    return time;
  };
  const showPlans = () => {
    for (const place of document.querySelectorAll("[data-next]")) {
      const plan = plans.get(place.dataset.next);
      place.replaceChildren(...(plan ? [plan.words, ...(plan.when ? [clock(plan.when), "."] : [])] : []));
    }
    times();
  };
  const askPlans = async () => {
    const wanted = [...document.querySelectorAll("[data-next]")].map((place) => place.dataset.next);
    if (!wanted.length || document.visibilityState !== "visible") return;
    await Promise.all(wanted.map(async (dag) => {
      const at = `/api/v2/dags/${encodeURIComponent(dag)}`;
      const [one, running] = await Promise.all([fetch(at), fetch(`${at}/dagRuns?state=running&limit=1`)]);
      if (!one.ok || !running.ok) return plans.delete(dag); // Airflow knows no such DAG yet, or this person may not see it
      const { is_paused: paused, next_dagrun_run_after: next } = await one.json();
      const [run] = (await running.json()).dag_runs;
      if (run) plans.set(dag, { words: "It runs since ", when: run.start_date });
      else if (paused) plans.set(dag, { words: "It is paused in Airflow: nothing starts by itself." });
      else if (next) plans.set(dag, { words: "Next at ", when: next });
      else plans.delete(dag);
    })).catch(() => plans.clear()); // the line below says that the server does not answer
    showPlans();
  };
  window.setInterval(askPlans, PLANS * 1000);
  askPlans();

  const lost = document.getElementById("lost");
  let tag = null;
  // What the keyboard is at, so that a page that is shown again leaves it there.
  const focused = () => {
    const at = document.activeElement;
    if (at?.id) return `#${CSS.escape(at.id)}`;
    if (at?.dataset?.dag) return `button[data-dag="${CSS.escape(at.dataset.dag)}"]`;
    return at?.getAttribute?.("href") ? `a[href="${CSS.escape(at.getAttribute("href"))}"]` : null;
  };
  let pressed = false; // a part that is exchanged between a press and its release gets no click
  document.addEventListener("pointerdown", () => { pressed = true; });
  ["pointerup", "pointercancel"].forEach((end) => document.addEventListener(end, () => { pressed = false; }));
  const again = async () => {
    const typed = [...document.querySelectorAll("#page input:not(dialog input)")].some((field) => field.value !== field.defaultValue);
    const chosen = [...document.querySelectorAll("#page select")].some((field) => field === document.activeElement
      || field.selectedOptions[0] !== ([...field.options].find((option) => option.defaultSelected) ?? field.options[0]));
    if (document.visibilityState !== "visible" || document.querySelector("dialog[open]") || typed || chosen) return;
    try {
      const answer = await fetch(window.location.href, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
      if (pressed) return;
      if (answer.status === 401 || answer.status === 403) {
        lost.textContent = "You are logged out. Log in to Airflow again, then reload this page.";
      } else if (answer.status === 304) {
        lost.textContent = "";
      } else if (answer.ok) {
        tag = answer.headers.get("ETag");
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("page");
        const shown = document.getElementById("page");
        if (fresh && fresh.innerHTML !== shown.dataset.whole) {
          const whole = fresh.innerHTML;
          const focus = focused();
          const open = [...shown.querySelectorAll("details")].map((part) => part.open);
          window.keepCharts?.(fresh);
          shown.replaceChildren(...fresh.childNodes);
          shown.querySelectorAll("details").forEach((part, place) => { part.open = open[place] ?? part.open; });
          shown.dataset.whole = whole;
          showPlans();
          scrolls();
          if (focus) shown.querySelector(focus)?.focus({ preventScroll: true });
          window.drawCharts?.();
        }
        lost.textContent = "";
      } else {
        lost.textContent = `What is shown may be old: the server answered ${answer.status}.`;
      }
    } catch {
      lost.textContent = "What is shown may be old: the server does not answer.";
    }
    lost.hidden = !lost.textContent;
  };
  // Airflow's frame lets no link lead out of it: Airflow's own page goes there, as if one had gone on in its history.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    if (!airflow || !link || new URL(link.href).origin !== window.location.origin || !new URL(link.href).pathname.startsWith("/dags/")) return;
    event.preventDefault();
    window.parent.history.pushState({}, "", link.href);
    window.parent.dispatchEvent(new window.parent.PopStateEvent("popstate", { state: {} }));
  });

  // What a run that was started here came to, as its own page says, for as long as its dialog is open.
  const follow = async (dag, run, place) => {
    await new Promise((go) => { window.setTimeout(go, SECONDS * 1000); });
    if (!place.isConnected || !document.getElementById("ask").open) return;
    RUN.search = new URLSearchParams({ dag_id: dag, run_id: run });
    const answer = await fetch(RUN).catch(() => null); // the line below says that the server does not answer
    if (answer && !answer.ok) return; // this person may not read runs
    const { state, word, task, sentence } = answer ? await answer.json() : {};
    if (!answer || state === "running" || state === "queued") follow(dag, run, place);
    else place.textContent = ` ${word}${task ? ` at ${task}` : ""}: ${sentence}`;
  };

  // A button asks first, then starts a DAG by Airflow's own API, as whoever is logged in.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-dag]");
    if (!button) return;
    const dialog = document.getElementById("ask");
    const [question, label, why, said, no, yes] = ["question", "why-label", "why", "said", "no", "yes"].map((id) => document.getElementById(id));
    question.textContent = button.dataset.question;
    label.hidden = !button.dataset.asks;
    why.value = said.textContent = "";
    yes.disabled = false;
    no.textContent = "Cancel";
    yes.onclick = async (press) => {
      press.preventDefault();
      yes.disabled = true;
      said.textContent = "Starting …";
      const conf = JSON.parse(button.dataset.conf || "{}");
      if (button.dataset.asks && why.value.trim()) conf.reason = why.value.trim();
      try {
        const answer = await fetch(`/api/v2/dags/${encodeURIComponent(button.dataset.dag)}/dagRuns`, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ logical_date: null, conf, note: "Started on the model's page." }),
        });
        if (answer.ok) {
          const run = await answer.json();
          no.textContent = "Close"; // the run goes on
          const link = document.createElement("a");
          link.href = `/dags/${encodeURIComponent(button.dataset.dag)}/runs/${encodeURIComponent(run.dag_run_id)}`;
          link.textContent = run.dag_run_id;
          const came = document.createElement("span");
          came.textContent = " This page shows what comes of it.";
          said.replaceChildren("Started: ", link, ".", came);
          follow(button.dataset.dag, run.dag_run_id, came);
        } else {
          const told = await answer.json().catch(() => ({}));
          const detail = typeof told.detail === "string" ? told.detail : JSON.stringify(told.detail ?? "");
          said.textContent = `Airflow refused it (${answer.status}): ${detail}`;
          yes.disabled = false;
        }
      } catch {
        said.textContent = "The server does not answer. Try again.";
        yes.disabled = false;
      }
    };
    dialog.showModal();
  });

  window.setInterval(again, SECONDS * 1000);
  document.addEventListener("visibilitychange", again);
})();
