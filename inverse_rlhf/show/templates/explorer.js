"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const form = at("ask"), prompt = at("prompt"), seed = at("seed");
  const longest = Number(form.dataset.longest), most = Number(form.dataset.most);
  const asking = [at("score"), at("sample")].filter(Boolean);
  let busy = false;

  // Texts come from models and from anyone: they are put in as text, never as markup.
  const make = (tag, text = "", attributes = {}) => {
    const element = document.createElement(tag);
    element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const signed = (value, digits) => {
    const shown = Math.abs(value).toFixed(digits);
    return /[1-9]/.test(shown) ? (value < 0 ? "−" : "+") + shown : shown;
  };
  // Between marks that keep words which are read from right to left apart from their numbers.
  const short = (text) => `\u2068${text.length > 40 ? text.slice(0, 40) + "…" : text}\u2069`;

  const fields = () => [...document.querySelectorAll("#completions textarea")];
  const renumber = () => {
    for (const [place, field] of [...at("completions").children].entries()) {
      const name = `Completion ${place + 1}`;
      field.querySelector("label").textContent = name;
      const button = field.querySelector("button");
      button.setAttribute("aria-label", `Remove completion ${place + 1}`);
      button.hidden = at("completions").children.length === 1;
    }
    at("add").setAttribute("aria-disabled", fields().length >= most);
  };
  let made = 0;
  const add = (text = "") => {
    if (fields().length >= most) {
      fail(`${most} completions are scored at a time: remove one first.`);
      return null;
    }
    const id = `completion-${(made += 1)}`;
    const field = make("div", "", { class: "field" }), line = make("div", "", { class: "line" });
    const area = make("textarea", "", {
      id, rows: "3", dir: "auto", spellcheck: "false", autocomplete: "off",
    });
    area.value = text;
    const remove = make("button", "Remove", { type: "button" });
    remove.addEventListener("click", () => {
      field.remove();
      renumber();
      changed();
      fields()[0].focus();
    });
    line.append(make("label", "", { for: id }), remove);
    field.append(line, area);
    at("completions").append(field);
    renumber();
    return area;
  };

  const fail = (line, field = null) => {
    at("error").textContent = line;
    if (field) {
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-describedby", "error");
      field.focus();
    }
  };
  const forgive = () => {
    at("error").textContent = "";
    for (const field of form.querySelectorAll("[aria-invalid]")) {
      field.removeAttribute("aria-invalid");
      if (field === prompt) field.setAttribute("aria-describedby", "prompt-help");
      else field.removeAttribute("aria-describedby");
    }
  };
  const tooLong = () => {
    for (const field of [prompt, ...fields()]) {
      // As Python counts them: characters, and not halves of surrogate pairs.
      const length = field.value.length > longest ? [...field.value].length : 0;
      if (length > longest) {
        fail(`This text has ${length.toLocaleString("en")} characters: ` +
             `${longest.toLocaleString("en")} are the most.`, field);
        return true;
      }
    }
    return false;
  };

  const ask = async (path, question, doing, show) => {
    busy = true;
    for (const button of asking) button.setAttribute("aria-disabled", "true");
    at("status").textContent = doing;
    const started = performance.now();
    try {
      const response = await fetch(path, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(question),
      });
      const answer = await response.json();
      if (answer.error) {
        at("status").textContent = "Nothing was read.";
        fail(answer.error);
      } else {
        const seconds = ((performance.now() - started) / 1000).toFixed(1);
        at("status").textContent = `${show(answer)} It took ${seconds} s.`;
      }
    } catch {
      at("status").textContent = "Nothing was read.";
      fail("The explorer does not answer: is it still running in its terminal?");
    } finally {
      busy = false;
      for (const button of asking) button.removeAttribute("aria-disabled");
    }
  };
  const changed = () => {
    const line = "The texts have changed since the scores below.";
    if (!busy && !at("results").hidden && at("status").textContent !== line) {
      at("status").textContent = line;
    }
  };
  const waiting = () => {
    if (busy) at("status").textContent = "Still reading; this click was not needed.";
    return busy;
  };

  const score = () => {
    if (waiting()) return;
    forgive();
    const missing = fields().findIndex((field) => !field.value.trim());
    if (missing >= 0) {
      fail(`Completion ${missing + 1} is empty: type a text` +
           (fields().length > 1 ? ", or remove it." : "."), fields()[missing]);
      return;
    }
    if (tooLong()) return;
    const completions = fields().map((field) => field.value);
    ask("/score", { prompt: prompt.value, completions }, "Reading…", showScores);
  };
  const sample = () => {
    if (waiting()) return;
    forgive();
    if (!prompt.value.trim()) {
      fail("The prompt is empty: type the first words of a text.", prompt);
      return;
    }
    if (!seed.checkValidity()) {
      fail("The seed is a whole number from 0 to 2147483647.", seed);
      return;
    }
    if (tooLong()) return;
    const question = { prompt: prompt.value, seed: Number(seed.value) };
    ask("/sample", question, "The policies write…", showSamples);
  };

  // What was asked last stands below the form, and as much of it in view as leaves the form there.
  const reveal = (id) => {
    const section = at(id);
    section.hidden = false;
    form.after(section);
    (section.querySelector("tbody tr, .policies > div") || section)
      .scrollIntoView({ block: "nearest" });
  };

  const showScores = (answer) => {
    const count = answer.rows.length, names = answer.rows.map((_, n) => `Completion ${n + 1}`);
    at("rows-head").replaceChildren(make("td"),
      ...names.map((name) => make("th", name, { scope: "col" })));
    at("rows").replaceChildren(...Object.keys(answer.rows[0]).map((measure) => {
      const line = make("tr");
      line.append(make("th", measure, { scope: "row" }),
                  ...answer.rows.map((row) => make("td", row[measure])));
      return line;
    }));
    at("texts").replaceChildren(...answer.texts.map((text, place) =>
      shownText(text, answer.notes[place], place)));
    showObjectives(answer.objectives, count);
    reveal("results");
    const first = Object.entries(answer.rows[0])[0].join(" ");
    return count === 1 ? `Scored: ${first}.` : `Scored ${count} completions; the first: ${first}.`;
  };

  const shownText = (text, notes, place) => {
    const box = make("div"), shown = make("p", "", { class: "text", dir: "auto" });
    box.append(make("h3", `Completion ${place + 1}`));
    const before = text.left_of_prompt ? `(${text.left_of_prompt.toLocaleString("en")} characters) … ` : "";
    if (text.prompt) shown.append(make("span", before + text.prompt, { class: "prompt" }));
    for (const [piece, credit, shade] of text.pieces) {
      if (!shade) {
        shown.append(piece);
        continue;
      }
      const way = shade > 0 ? "up" : "down";
      const word = make("span", piece, { class: `w ${way} s${Math.abs(shade)}` });
      word.title = signed(credit, 2);
      shown.append(word);
    }
    if (text.left) {
      const left = ` … (${text.left.toLocaleString("en")} more characters)`;
      shown.append(make("span", left, { class: "soft" }));
    }
    box.append(shown);
    const coloured = text.pieces.filter(([, , shade]) => shade);
    const ranked = [...coloured].sort((one, other) => other[1] - one[1]);
    const list = (pieces) =>
      pieces.map(([piece, credit]) => `${short(piece)} ${signed(credit, 2)}`).join(", ");
    const raising = ranked.filter(([, credit]) => credit > 0).slice(0, 3);
    const lowering = ranked.filter(([, credit]) => credit < 0).slice(-3).reverse();
    const lines = [raising.length && `Raise it most: ${list(raising)}.`,
                   lowering.length && `Lower it most: ${list(lowering)}.`].filter(Boolean);
    box.append(make("p", lines.join(" ") || "No word changes it much.", { class: "most" }));
    if (notes.length) {
      const items = make("ul", "", { class: "warnings" });
      items.append(...notes.map((note) => make("li", note)));
      box.append(items);
    }
    const credited = text.pieces.filter(([, credit]) => credit !== null);
    if (credited.length) {
      const details = make("details"), rows = make("ol");
      details.append(make("summary", `The credits of all ${credited.length} words`));
      rows.append(...credited.map(([piece, credit]) =>
        make("li", `${short(piece)} ${signed(credit, 3)}`)));
      details.append(rows);
      box.append(details);
    }
    return box;
  };

  const showObjectives = (objectives, count) => {
    const weighed = objectives.rows.some((row) => row.parts.length);
    const note = at("objectives-note");
    note.textContent = `Measured in ${note.dataset.reads}. ` +
      (weighed ? "Part: the value times its weight; the parts sum up to R̂, in which only differences between completions of a prompt count. " : "") +
      `The other ${objectives.absent} are 0.`;
    const heads = ["Objective"];
    for (let place = 1; place <= count; place += 1) {
      const which = count > 1 ? ` of ${place}` : "";
      heads.push(`Value${which}`, ...(weighed ? [`Part${which}`] : []));
    }
    heads.push(...(weighed ? ["Weight"] : []), "Higher is", "Unit");
    at("objectives-head").replaceChildren(
      ...heads.map((name) => make("th", name, {
        scope: "col", class: /^(Value|Part)/.test(name) ? "n" : "" })));
    at("objectives").replaceChildren(...objectives.rows.map((row) => {
      const line = make("tr");
      line.append(make("th", row.name, { scope: "row" }));
      row.values.forEach((value, place) => {
        line.append(make("td", value.toFixed(2).replace("-", "−"), { class: "n" }));
        if (weighed) line.append(make("td", signed(row.parts[place], 2), { class: "n" }));
      });
      if (weighed) line.append(make("td", row.remark, { class: "weight" }));
      line.append(make("td", row.more), make("td", row.unit));
      return line;
    }));
  };

  const showSamples = (answer) => {
    at("samples-note").textContent = "Texts as models wrote them, unedited." + (answer.known
      ? " Of this prompt the pipeline draws the same with this seed, but for rounding." : "");
    at("policies").replaceChildren(...answer.policies.map(({ name, completions }) => {
      const box = make("div");
      box.append(make("h3", name));
      for (const [place, { text, ended, scores }] of completions.entries()) {
        const shown = make("p", "", { class: "text", dir: "auto" });
        shown.append(make("span", answer.prompt, { class: "prompt" }), text);
        if (!ended) shown.append(make("span", " … (cut)", { class: "soft" }));
        const take = make("button", "Take as a completion", {
          type: "button", "aria-label": `Take ${name}'s text ${place + 1} as a completion`,
        });
        take.addEventListener("click", () => {
          forgive();
          const free = fields().find((field) => !field.value.trim());
          const area = free || add();
          if (!area) return;
          prompt.value = answer.prompt;
          area.value = text;
          changed();
          area.focus();
        });
        box.append(shown, make("p", scores, { class: "scores" }), take);
      }
      return box;
    }));
    reveal("samples");
    const count = answer.policies.reduce((sum, { completions }) => sum + completions.length, 0);
    return `${count} completions by ${answer.policies.length} policies, below.`;
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    score();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    if (event.target === seed) {
      event.preventDefault();
      sample();
    } else if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      score();
    }
  });
  form.addEventListener("input", (event) => {
    if (event.target !== seed) changed();
  });
  at("add").addEventListener("click", () => {
    forgive();
    add()?.focus();
  });
  at("sample")?.addEventListener("click", sample);
  add();
})();
