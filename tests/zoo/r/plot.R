# A regression and its plot as PDF.
sales <- read.csv("/srv/sales.csv")
fit <- lm(sales ~ month, data = sales)
pdf("plot.pdf")
plot(sales)
abline(fit)
invisible(dev.off())
cat(sprintf("slope %.1f, %s\n", coef(fit)[["month"]], file.exists("plot.pdf")))
