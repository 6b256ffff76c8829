// What Great Expectations' pages need to be usable without a network: the filter and the "show more" folds.
function showValidations(failedOnly) {
  for (const found of document.querySelectorAll(".hide-succeeded-validation-target-child")) found.parentElement.hidden = failedOnly;
  for (const found of document.querySelectorAll(".hide-succeeded-validation-target")) found.hidden = failedOnly;
  for (const found of document.querySelectorAll(".hide-succeeded-validations-column-section-target-child")) {
    const section = found.parentElement.parentElement;
    section.hidden = failedOnly;
    for (const link of document.querySelectorAll(`a[href$="#${section.id}"]`)) link.hidden = failedOnly;
  }
  for (const button of document.querySelectorAll(".btn-group .btn")) button.classList.toggle("active", (button.textContent.includes("Failed")) === failedOnly);
}
document.addEventListener("click", (event) => {
  const filter = event.target.closest(".btn-group .btn");
  if (filter) showValidations(filter.textContent.includes("Failed"));
  const toggle = event.target.closest('[data-toggle="collapse"]');
  if (!toggle) return;
  event.preventDefault();
  const target = document.getElementById((toggle.getAttribute("href") || toggle.dataset.target).slice(1));
  if (target) target.classList.toggle("show");
});
