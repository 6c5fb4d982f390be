// The code of a one-time link stands behind the #: it never leaves the browser but in a form's body.
function useCode() {
  if (location.pathname !== "/set-up" || location.hash.length < 2) return;
  const form = document.createElement("form"), field = document.createElement("input");
  Object.assign(form, { method: "post", action: `/set-up${location.search}`, hidden: true });
  Object.assign(field, { name: "code", value: location.hash.slice(1) });
  history.replaceState(null, "", location.pathname + location.search);
  form.append(field);
  document.body.append(form);
  form.submit();
}
addEventListener("hashchange", useCode);
useCode();
// Another language or colour: the same link again.
const code = document.querySelector('input[type="hidden"][name="code"]');
if (code) for (const link of document.querySelectorAll("[data-keep]")) link.hash = code.value;
